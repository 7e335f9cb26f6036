// The filters that kernels are compiled for.
#pragma once

namespace base_fast {

constexpr int filter_key(int kernel, int stride, int dilation) { return (kernel * 4 + stride) * 4 + dilation; }

// Throws std::invalid_argument: no kernel is compiled for this one.
[[noreturn]] void unknown_filter(int kernel, int stride, int dilation);

}  // namespace base_fast
