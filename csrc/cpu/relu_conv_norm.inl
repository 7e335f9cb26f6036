// After mixed_op.inl, whose vectors and moments it uses.
#include "relu_conv_norm.h"
#include "relu_conv_norm_pixels.inl"
#include "relu_conv_norm_products.inl"

namespace base_fast {
namespace BF_ISA {
namespace conv {

// Where x has the pixel that a part reads for output pixel (i, j); odd sizes have none beyond their edge.
template <class S, class T>
BF_INLINE bool source(const ConvPlan<S>& plan, const ConvPart<T>& part, int64_t& i, int64_t& j) {
  i = i * plan.stride + part.shift, j = j * plan.stride + part.shift;
  return i < plan.height && j < plan.width;
}

// The relu(x) that a part convolves.
template <class S, class T>
void fetch_rectified(const ConvPlan<S>& plan, const ConvPart<T>& part, int64_t first, int64_t count,
                     const Chunk<T>& to) {
  each_pixel(plan, first, count, [&](int64_t n, int64_t i, int64_t j, int64_t k) {
    if (source(plan, part, i, j)) {
      read_pixel(plan.x.at(n, i, j), plan.in_channels, [&](int64_t c, Vec<T> x) { store(to.at(c, k), relu(x)); });
    } else {
      for (int64_t c = 0; c < plan.in_padded(); c += kBlock) std::memset(to.at(c, k), 0, kBlock * sizeof(T));
    }
  });
}

// A part's channels of y or, before the norm, of v.
template <class S, class From, class T>
void fetch_output(const ConvPlan<S>& plan, const ConvPart<T>& part, const From* from, int64_t first, int64_t count,
                  const Chunk<T>& to) {
  from += first * plan.out_channels + part.begin;
  for (int64_t k = 0; k < count; ++k, from += plan.out_channels)
    read_pixel(from, part.channels, [&](int64_t c, Vec<T> y) { store(to.at(c, k), y); });
}
template <class S, class T, class To>
void put_output(const ConvPlan<S>& plan, const ConvPart<T>& part, const Chunk<T>& from, int64_t first, int64_t count,
                To* to) {
  to += first * plan.out_channels + part.begin;
  for (int64_t k = 0; k < count; ++k, to += plan.out_channels)
    write_pixel<T>(to, part.channels, [&](int64_t c) { return load(from.at(c, k)); });
}

template <class S, class T>
void fetch_grad(const ConvPlan<S>& plan, const ConvPart<T>& part, int64_t first, int64_t count, const Chunk<T>& to) {
  each_pixel(plan, first, count, [&](int64_t n, int64_t i, int64_t j, int64_t k) {
    read_pixel(plan.grad.at(n, i, j) + part.begin, part.channels,
               [&](int64_t c, Vec<T> dy) { store(to.at(c, k), dy); });
  });
}

// dx from a part's product, and zeros where no part reads x.
template <class S, class T>
void put_gradient(const ConvPlan<S>& plan, const ConvPart<T>& part, const Chunk<T>& rectified, const Chunk<T>& product,
                  int64_t first, int64_t count) {
  const auto at = [&](int64_t n, int64_t i, int64_t j) {
    return plan.dx + ((n * plan.height + i) * plan.width + j) * plan.in_channels;
  };
  const auto zero = [&](int64_t n, int64_t i, int64_t j) {
    if (i < plan.height && j < plan.width) std::memset(at(n, i, j), 0, size_t(plan.in_channels) * sizeof(S));
  };
  each_pixel(plan, first, count, [&](int64_t n, int64_t i, int64_t j, int64_t k) {
    if (source(plan, part, i, j)) {
      // Where x is not a number the gradient passes, as in PyTorch.
      write_pixel<T>(at(n, i, j), plan.in_channels, [&](int64_t c) {
        return load(rectified.at(c, k)) <= Vec<T>{} ? Vec<T>{} : load(product.at(c, k));
      });
    }
    if (plan.stride == 2 && part.shift == 0) zero(n, i, j + 1), zero(n, i + 1, j);
  });
}

// Adds Σ g and Σ g·y over the pixels to a part's sums.
template <class T>
void add_sums(const ConvPart<T>& part, const Chunk<T>& g, const Chunk<T>& y, int64_t count, double* first,
              double* second) {
  for (int64_t c = 0; c < part.blocks * kBlock; c += kWidth<T>) {
    Vec<T> sum[4] = {}, product[4] = {};
    for (int64_t k = 0; k < count; k += 4) {
#pragma GCC unroll 4
      for (int l = 0; l < 4; ++l) {
        if (k + l >= count) break;
        const Vec<T> gradient = load(g.at(c, k + l));
        sum[l] += gradient;
        product[l] = fma(gradient, load(y.at(c, k + l)), product[l]);
      }
    }
    add_to_sums(first + c, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    add_to_sums(second + c, (product[0] + product[1]) + (product[2] + product[3]));
  }
}

// f(part, first, count) for a group's chunks.
template <class S, class F>
BF_INLINE void each_chunk(const ConvPlan<S>& plan, int64_t group, const F& f) {
  const int64_t end = plan.begin(group + 1);
  for (int64_t first = plan.begin(group); first < end; first += plan.chunk()) {
    for (int p = 0; p < plan.count; ++p) f(plan.parts[p], first, std::min(plan.chunk(), end - first));
  }
}

template <class S>
Chunk<Wide<S>> take_chunk(const ConvPlan<S>& plan, Scratch<Wide<S>>& scratch, int64_t channels) {
  return {scratch.take(channels * plan.chunk()), plan.chunk() * kBlock};
}

}  // namespace conv

template <class S>
int64_t relu_conv_norm_scratch(const ConvPlan<S>& plan) {
  constexpr int64_t kMoments = 5 + 2 * sizeof(double) / sizeof(Wide<S>);
  return 2 * (plan.in_padded() + plan.out_padded) * plan.chunk() + kMoments * plan.out_padded +
         8 * edge::Scratch<Wide<S>>::kStagger;
}

template <class S>
void relu_conv_norm_convolve(const ConvPlan<S>& plan, int64_t group, Wide<S>* memory) {
  using namespace conv;
  using T = Wide<S>;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  const Chunk<T> rectified = take_chunk(plan, scratch, plan.in_padded());
  const Chunk<T> v = take_chunk(plan, scratch, plan.out_padded);
  Moments<T> moments = Moments<T>::take(scratch, plan.out_padded);
  moments.reset();
  each_chunk(plan, group, [&](const ConvPart<T>& part, int64_t first, int64_t count) {
    fetch_rectified(plan, part, first, count, rectified);
    product(rectified, plan.in_blocks, part.weight, v, part.blocks, count);
    moments.empty = first == plan.begin(group);
    for (int64_t c = 0; c < part.blocks * kBlock; c += kBlock)
      moments.add((part.padded_begin + c) / kBlock, v.at(c, 0), count);
    put_output(plan, part, v, first, count, plan.v);
  });
  double* sums = plan.sums_of(group);
  moments.merge(sums, sums + plan.out_padded, 0, plan.begin(group + 1) - plan.begin(group));
}

template <class S>
void relu_conv_norm_normalize(const ConvPlan<S>& plan, int64_t group, Wide<S>* memory) {
  using namespace conv;
  using T = Wide<S>;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  const Chunk<T> v = take_chunk(plan, scratch, plan.out_padded);
  each_chunk(plan, group, [&](const ConvPart<T>& part, int64_t first, int64_t count) {
    fetch_output(plan, part, plan.v, first, count, v);
    for (int64_t c = 0; c < part.blocks * kBlock; c += kWidth<T>) {
      const Vec<T> mean = load(plan.mean + part.padded_begin + c), rstd = load(plan.rstd + part.padded_begin + c);
      const Vec<T> offset = load(plan.offset + part.padded_begin + c);
      for (int64_t k = 0; k < count; ++k) store(v.at(c, k), fma(load(v.at(c, k)) - mean, rstd, offset));
    }
    put_output(plan, part, v, first, count, plan.y);
  });
}

template <class S>
void relu_conv_norm_reduce(const ConvPlan<S>& plan, int64_t group, Wide<S>* memory) {
  using namespace conv;
  using T = Wide<S>;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  const Chunk<T> g = take_chunk(plan, scratch, plan.out_padded), y = take_chunk(plan, scratch, plan.out_padded);
  double* sums = plan.sums_of(group);
  std::memset(sums, 0, size_t(2 * plan.out_padded) * sizeof(double));
  each_chunk(plan, group, [&](const ConvPart<T>& part, int64_t first, int64_t count) {
    fetch_grad(plan, part, first, count, g);
    fetch_output(plan, part, plan.saved, first, count, y);
    add_sums(part, g, y, count, sums + part.padded_begin, sums + plan.out_padded + part.padded_begin);
  });
}

template <class S>
void relu_conv_norm_gradients(const ConvPlan<S>& plan, int64_t group, Wide<S>* memory) {
  using namespace conv;
  using T = Wide<S>;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  const Chunk<T> rectified = take_chunk(plan, scratch, plan.in_padded());
  const Chunk<T> dx = take_chunk(plan, scratch, plan.in_padded());
  const Chunk<T> dv = take_chunk(plan, scratch, plan.out_padded), y = take_chunk(plan, scratch, plan.out_padded);
  T* gradients = plan.weight_gradients + group * plan.weights;
  each_chunk(plan, group, [&](const ConvPart<T>& part, int64_t first, int64_t count) {
    fetch_grad(plan, part, first, count, dv);
    fetch_output(plan, part, plan.saved, first, count, y);
    for (int64_t c = 0; c < part.blocks * kBlock; c += kWidth<T>) {
      const Vec<T> gain = load(plan.gain + part.padded_begin + c), slope = load(plan.slope + part.padded_begin + c);
      const Vec<T> intercept = load(plan.intercept + part.padded_begin + c);
      for (int64_t k = 0; k < count; ++k)
        store(dv.at(c, k), fma(gain, load(dv.at(c, k)), fma(slope, load(y.at(c, k)), intercept)));
    }
    fetch_rectified(plan, part, first, count, rectified);
    outer(dv, part.blocks, rectified, plan.in_blocks, gradients + part.weights_at, count);
    product(dv, part.blocks, part.transposed, dx, plan.in_blocks, count);
    put_gradient(plan, part, rectified, dx, first, count);
  });
}

#define BF_INSTANTIATE(S)                                                                \
  template int64_t relu_conv_norm_scratch(const ConvPlan<S>&);                           \
  template void relu_conv_norm_convolve(const ConvPlan<S>&, int64_t, Wide<S>*);          \
  template void relu_conv_norm_normalize(const ConvPlan<S>&, int64_t, Wide<S>*);         \
  template void relu_conv_norm_reduce(const ConvPlan<S>&, int64_t, Wide<S>*);            \
  template void relu_conv_norm_gradients(const ConvPlan<S>&, int64_t, Wide<S>*);
BF_INSTANTIATE(float)
BF_INSTANTIATE(double)
BF_INSTANTIATE(bfloat16)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
