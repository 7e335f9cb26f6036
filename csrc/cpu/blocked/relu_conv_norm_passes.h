// The passes of relu_conv_norm in order, with what lies between them. `run(kernel)` calls a kernel for every group, on
// any threads.
#pragma once

#include <cmath>
#include <vector>

#include "../memory/buffer.h"
#include "../memory/groups.h"
#include "moments_merge.h"
#include "packing.h"
#include "relu_conv_norm.h"
#include "relu_conv_norm_plan.h"

namespace base_fast {

struct ConvShape {
  int64_t images, in_channels, height, width, out_channels;
  int stride;
};

// A plan with the memory that its passes share.
template <class S>
class Convolution {
 public:
  using T = compute_t<S>;

  // `weight`: (out, in) numbers, dense.
  template <class W>
  Convolution(const ConvShape& shape, const W* weight) {
    const int64_t s = shape.stride, half = shape.out_channels / 2;
    plan.images = shape.images, plan.height = shape.height, plan.width = shape.width;
    plan.out_height = (shape.height + s - 1) / s, plan.out_width = (shape.width + s - 1) / s;
    plan.in_channels = shape.in_channels, plan.in_blocks = blocks_of(shape.in_channels);
    plan.out_channels = shape.out_channels, plan.stride = shape.stride;
    if (shape.stride == 1) {
      add_part(0, 0, shape.out_channels);
    } else {
      add_part(0, 0, half);
      add_part(1, half, shape.out_channels);
    }
    pack(weight);
    // By shape alone, so that sums do not depend on the number of threads. Groups balance the threads, but each has
    // gradients of all weights to add up.
    plan.groups = std::min(groups_of(plan.pixels(), plan.weights), (plan.pixels() + 255) / 256);
    sums_ = Buffer<double>(plan.groups * 2 * plan.out_padded);
    plan.sums = sums_.get();
    norm_ = Buffer<T>(3 * plan.out_padded);
  }

  // y, and 1/σ of every channel.
  template <class Run>
  void forward(double eps, T* rstd, const Run& run) {
    plan.join_rows();
    run(BF_KERNEL(relu_conv_norm_convolve<S>));
    const int64_t padded = plan.out_padded;
    T *mean = norm_.get(), *scale = mean + padded, *offset = scale + padded;
    plan.mean = mean, plan.rstd = scale, plan.offset = offset;
    each_channel([&](int64_t at, int64_t c) {
      double m = 0.0, square = 0.0;
      for (int64_t g = 0; g < plan.groups; ++g) {
        const double* sums = plan.sums_of(g);
        const MomentsMerge merge{double(plan.begin(g)), double(plan.begin(g + 1) - plan.begin(g))};
        square += sums[padded + at] + (g == 0 ? 0.0 : merge.between(m, sums[at]));
        m = g == 0 ? sums[at] : merge.mean(m, sums[at]);
      }
      const double r = 1.0 / std::sqrt(square / double(plan.pixels()) + eps);
      mean[at] = T(m), scale[at] = rstd[c] = T(r), offset[at] = T((double(mean[at]) - m) * r);
    });
    run(BF_KERNEL(relu_conv_norm_normalize<S>));
  }

  // dx, and the groups' shares of dW: `groups` times `weights` elements, of any content before.
  template <class Run>
  void backward(const T* rstd, T* shares, const Run& run) {
    plan.join_rows();
    run(BF_KERNEL(relu_conv_norm_reduce<S>));
    const int64_t padded = plan.out_padded;
    T *gain = norm_.get(), *slope = gain + padded, *intercept = slope + padded;
    plan.gain = gain, plan.slope = slope, plan.intercept = intercept;
    each_channel([&](int64_t at, int64_t c) {
      double first = 0.0, second = 0.0;
      for (int64_t g = 0; g < plan.groups; ++g) first += plan.sums_of(g)[at], second += plan.sums_of(g)[padded + at];
      const double r = double(rstd[c]), count = double(plan.pixels());
      gain[at] = rstd[c], slope[at] = T(-r * second / count), intercept[at] = T(-r * first / count);
    });
    plan.weight_gradients = shares;
    run(BF_KERNEL(relu_conv_norm_gradients<S>));
  }

  // The merged dW in its own form: (out, in) numbers, dense.
  template <class W>
  void unpack(const T* merged, W* weight_gradient) const {
    for (int p = 0; p < plan.count; ++p) {
      const ConvPart<T>& part = plan.parts[p];
      W* rows = weight_gradient + part.begin * plan.in_channels;
      unpack_matrix(merged + part.weights_at, outputs_of(part), plan.in_channels,
                    [rows](int64_t i, T value) { rows[i] = W(value); });
    }
  }

  ConvPlan<S> plan{};

 private:
  static int64_t blocks_of(int64_t channels) { return (channels + kBlock - 1) / kBlock; }

  void add_part(int64_t shift, int64_t begin, int64_t end) {
    const int64_t blocks = blocks_of(end - begin);
    plan.parts[plan.count++] = {shift, begin, end - begin, blocks, plan.out_padded, nullptr, nullptr, plan.weights};
    plan.out_padded += blocks * kBlock;
    plan.weights += blocks * kBlock * plan.in_padded();
  }

  // f(padded, plain) of every output channel; what pads is zero.
  template <class F>
  void each_channel(const F& f) {
    std::memset(norm_.get(), 0, size_t(3 * plan.out_padded) * sizeof(T));
    for (int p = 0; p < plan.count; ++p) {
      const ConvPart<T>& part = plan.parts[p];
      for (int64_t c = 0; c < part.channels; ++c) f(part.padded_begin + c, part.begin + c);
    }
  }

  // What a part's channels of (out, in) weights, dense, are in blocks.
  static ChannelRange outputs_of(const ConvPart<T>& part) { return {0, part.channels}; }

  template <class W>
  void pack(const W* weight) {
    packed_ = Buffer<T>::zeros(2 * plan.weights);
    T *forward = packed_.get(), *back = forward + plan.weights;
    for (int p = 0; p < plan.count; ++p) {
      ConvPart<T>& part = plan.parts[p];
      const W* rows = weight + part.begin * plan.in_channels;
      const auto at = [rows](int64_t i) { return T(rows[i]); };
      pack_matrix(at, outputs_of(part), plan.in_channels, plan.in_padded(), forward + part.weights_at);
      pack_matrix_transposed(at, outputs_of(part), plan.in_channels, back + part.weights_at);
      part.weight = forward + part.weights_at;
      part.transposed = back + part.weights_at;
    }
  }

  Buffer<T> packed_, norm_;
  Buffer<double> sums_;
};

}  // namespace base_fast
