// Tensors (B, C, H, W) of any strides, as kernels see them that work on blocks of channels.
#pragma once

#include <cstdint>

namespace base_fast {

template <class E>
struct Image {
  E* data;
  int64_t image, channel, row, pixel;  // elements from one to the next
  E* at(int64_t n, int64_t c, int64_t i) const { return data + n * image + c * channel + i * row; }
};

}  // namespace base_fast
