// What the pair of pools works on: E is stored, T is computed in.
#pragma once

#include <algorithm>

#include "image_rows.h"
#include "mixed_op_plan.h"

namespace base_fast {

template <class E, class T>
struct PoolPlan {
  int64_t images, channels, height, width;
  int stride;

  Image<const E> x, d_max, d_average;
  Image<E> max, average, dx;

  int64_t out_height() const { return (height + stride - 1) / stride; }
  int64_t out_width() const { return (width + stride - 1) / stride; }
  int64_t blocks() const { return (channels + kBlock - 1) / kBlock; }
  int64_t channels_of(int64_t block) const { return std::min(kBlock, channels - block * kBlock); }

  // Rows of output that are worked on at once, a band: what they read stays in the first-level cache or little beyond.
  int64_t band_rows() const {
    const int64_t rows = (int64_t{1} << 16) / (width * stride * kBlock * int64_t(sizeof(T)));
    return std::min(std::max<int64_t>(rows, 8), out_height());
  }
  int64_t bands() const { return (out_height() + band_rows() - 1) / band_rows(); }
  // Of images × bands × blocks, either way.
  int64_t items() const { return images * bands() * blocks(); }

  // Elements of scratch memory: a band of x and a row of each pool ...
  int64_t x_band() const { return (stride * (band_rows() - 1) + 3) * width * kBlock; }
  int64_t forward_scratch() const { return x_band() + 2 * out_width() * kBlock; }
  // ... and three framed rows of x and of its gradient, and a row of each pool's gradient.
  int64_t framed_row() const { return (width + 3) * kBlock; }
  int64_t backward_scratch() const { return 6 * framed_row() + 2 * out_width() * kBlock; }
};

}  // namespace base_fast
