// Images as tensors, for the bindings of kernels that work on blocks of channels.
#pragma once

#include "buffer.h"
#include "image_rows.h"
#include "operands.h"

namespace base_fast {

inline void check_image(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() == 4 && x.size(1) > 0 && x.size(2) > 0 && x.size(3) > 0,
                  "x: expected (B, C, H, W) with C, H, W ≥ 1");
}

inline void check_gradient(const Tensor& grad, const Tensor& x, int64_t height, int64_t width) {
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(0) == x.size(0) && grad.size(1) == x.size(1) &&
                      grad.size(2) == height && grad.size(3) == width && grad.scalar_type() == x.scalar_type(),
                  "grad: expected the output's shape and dtype");
}

// An empty image of another size than x's, in its memory format.
inline Tensor empty_image_like(const Tensor& x, int64_t height, int64_t width) {
  return empty({x.size(0), x.size(1), height, width}, x.scalar_type(),
               is_channels_last(x) ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

template <class E>
Image<const E> image_of(const Tensor& x) {
  return {data<E>(x), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}
template <class E>
Image<E> mutable_image_of(const Tensor& x) {
  return {mutable_data<E>(x), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}

// kernel(begin, end, scratch) over `count` items of `elements` each, `scratch` of a size in elements of T.
template <class T, class F>
void parallel_items(int64_t count, int64_t elements, int64_t scratch, const F& kernel) {
  constexpr int64_t kGrain = 16384;  // elements worth a thread
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, elements));
  const auto run = [&](int64_t begin, int64_t end) { kernel(begin, end, thread_memory<Image<T>, T>(scratch)); };
  if (count > grain) {
    torch::stable::parallel_for(0, count, grain, run);
  } else if (count > 0) {
    run(0, count);
  }
}

}  // namespace base_fast
