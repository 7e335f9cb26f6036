// What a depthwise convolution works on: E is stored, T is computed in.
#pragma once

#include <algorithm>
#include <vector>

#include "image_rows.h"
#include "mixed_op_plan.h"

namespace base_fast {

// Rows that are filtered before they go where they belong.
constexpr int64_t kStrip = 4;

template <class E, class T>
struct DepthwisePlan {
  int64_t images, channels, height, width;
  int kernel, stride, dilation;
  bool relu;

  Image<const E> x, grad;
  Image<E> y, dx;
  const T* weight;           // [block][tap][16]
  const T* scattered;        // the same for the gradient of x, see `Parity`
  double* weight_gradients;  // [group][block][tap][16]

  int64_t out_height() const { return (height + stride - 1) / stride; }
  int64_t out_width() const { return (width + stride - 1) / stride; }
  int64_t blocks() const { return (channels + kBlock - 1) / kBlock; }
  int64_t channels_of(int64_t block) const { return std::min(kBlock, channels - block * kBlock); }
  int64_t taps() const { return int64_t(kernel) * kernel * kBlock; }
  // f(place in (C, 1, k, k), place in [block][tap][16]) for every weight.
  template <class F>
  void each_weight(const F& f) const {
    const int64_t filter = int64_t(kernel) * kernel;
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t t = 0; t < filter; ++t) f(c * filter + t, c / kBlock * taps() + t * kBlock + c % kBlock);
    }
  }
  // Zeros around x, and around the gradient of y.
  int64_t frame() const { return dilation * (kernel / 2); }
  int64_t grad_frame() const { return (frame() + stride - 1) / stride; }

  // Rows of output that are worked on at once, a band. What they read stays in the second-level cache, but is a
  // multiple of the rows that neighbouring bands read as well.
  int64_t band_rows() const {
    const int64_t row = (width + 2 * frame()) * kBlock * int64_t(sizeof(T)) * stride;
    const int64_t rows = std::max<int64_t>((int64_t{1} << 18) / row - 2 * grad_frame(), 4 * grad_frame() + 4);
    return std::min(rows, out_height());
  }
  int64_t bands() const { return (out_height() + band_rows() - 1) / band_rows(); }
  int64_t pieces() const { return images * bands(); }

  // Partial weight gradients: by shape alone, so that sums do not depend on the number of threads. Many small groups
  // balance the threads; their gradients should stay small beside the activations.
  int64_t groups() const {
    const int64_t most = std::clamp<int64_t>((int64_t{1} << 19) / (blocks() * taps()), 8, 64);
    return std::min(pieces(), most);
  }

  // Elements of a band of x and of the gradient, with their frames.
  int64_t x_row() const { return (width + 2 * frame()) * kBlock; }
  int64_t grad_row() const { return (out_width() + 2 * grad_frame()) * kBlock; }
  int64_t x_band() const { return (stride * (band_rows() - 1) + 1 + 2 * frame()) * x_row(); }
  int64_t grad_band() const { return (band_rows() + 2 * grad_frame()) * grad_row(); }
  // Of scratch memory, forward and backward.
  int64_t strip(int64_t columns) const { return kStrip * columns * kBlock; }
  int64_t forward_scratch() const { return x_band() + strip(out_width()); }
  int64_t backward_scratch() const { return x_band() + grad_band() + strip(width) + taps(); }
};

// weight (C, 1, k, k) in both orders, zeros for the channels that are missing in the last block.
template <class E, class T>
struct PackedFilters {
  std::vector<T> forward, back;

  template <class W>
  PackedFilters(const DepthwisePlan<E, T>& plan, const W& weight)
      : forward(size_t(plan.blocks() * plan.taps())), back(forward.size()) {
    const int k = plan.kernel, s = plan.stride, d = plan.dilation, pad = int(plan.frame());
    plan.each_weight([&](int64_t at, int64_t packed_at) { forward[size_t(packed_at)] = weight(at); });
    for (int64_t c = 0; c < plan.channels; ++c) {
      T* to = back.data() + c / kBlock * plan.taps() + c % kBlock;
      for (int parity = 0; parity < s * s; ++parity) {
        // The taps that pixels of this parity meet, last first.
        for (int t = k - 1; t >= 0; --t) {
          for (int u = k - 1; u >= 0; --u) {
            if ((parity / s + pad - t * d) % s != 0 || (parity % s + pad - u * d) % s != 0) continue;
            *to = weight(c * k * k + t * k + u);
            to += kBlock;
          }
        }
      }
    }
  }
};

}  // namespace base_fast
