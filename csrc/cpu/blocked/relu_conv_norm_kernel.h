// The kernels of relu_conv_norm.
#pragma once

#include "moments.h"
#include "pointwise.h"
#include "prefetch.h"
#include "relu_conv_norm.h"
#include "relu_conv_norm_pixels.h"

namespace base_fast {
namespace BF_ISA {
namespace conv {

// The relu(x) that a piece convolves, zeros beyond the edge.
template <class S, class T>
void fetch_rectified(const ConvPlan<S>& plan, const Piece<T>& piece, const Chunk<T>& to) {
  each_run(plan, piece, [&](const Run& run) {
    const S* x = plan.x.at(run.image, run.in_row, run.in_column);
    int64_t k = run.k;
    for (; k < run.k + run.inside; ++k, x += plan.stride * plan.x.pixel)
      read_pixel(x, plan.in_channels, [&](int64_t c, Vec<T> v) { store(to.at(c, k), relu(v)); });
    for (; k < run.k + run.count; ++k) {
      for (int64_t c = 0; c < plan.in_padded(); c += kBlock) std::memset(to.at(c, k), 0, kBlock * sizeof(T));
    }
  });
}

template <class S, class T, class To>
void put_output(const ConvPlan<S>& plan, const Piece<T>& piece, const Chunk<T>& from, To* to) {
  to += piece.first * plan.out_channels + piece.part->begin;
  for (int64_t k = 0; k < piece.count; ++k, to += plan.out_channels)
    write_pixel<T>(to, piece.part->channels, [&](int64_t c) { return load(from.at(c, k)); });
}

// f(k, gradient, y) of a piece's pixels, by the part of it that holds channel c.
template <class S, class T, class F>
BF_INLINE void each_gradient(const ConvPlan<S>& plan, const Piece<T>& piece, int64_t c, const F& f) {
  each_run(plan, piece, [&](const Run& run) __attribute__((always_inline)) {
    const S* grad = plan.grad.at(run.image, run.row, run.column) + piece.part->begin;
    const S* y = plan.saved + (piece.first + run.k) * plan.out_channels + piece.part->begin;
#pragma GCC unroll 4
    for (int64_t k = run.k; k < run.k + run.count; ++k, grad += plan.grad.pixel, y += plan.out_channels)
      f(k, read_part(grad, c, piece.part->channels), read_part(y, c, piece.part->channels));
  });
}

// dx from a piece's product. At stride 2 a part's rows have every other pixel from it, and zeros between.
template <class S, class T>
void put_gradient(const ConvPlan<S>& plan, const Piece<T>& piece, const Chunk<T>& rectified, const Chunk<T>& product) {
  each_run(plan, piece, [&](const Run& run) {
    if (run.in_row >= plan.height) return;
    const int64_t shift = piece.part->shift;
    S* dx = plan.dx_at(run.image, run.in_row, run.column * plan.stride);
    for (int64_t j = 0; j < run.count; ++j, dx += plan.stride * plan.in_channels) {
      if (j < run.inside) {
        // Where x is not a number the gradient passes, as in PyTorch.
        write_pixel<T>(dx + shift * plan.in_channels, plan.in_channels, [&](int64_t c) {
          return load(rectified.at(c, run.k + j)) <= Vec<T>{} ? Vec<T>{} : load(product.at(c, run.k + j));
        });
      }
      if (plan.stride == 2 && (run.column + j) * 2 + 1 - shift < plan.width)
        std::memset(dx + (1 - shift) * plan.in_channels, 0, size_t(plan.in_channels) * sizeof(S));
    }
  });
}

// What a piece reads and writes, asked for prefetch.
template <class S, class T>
void add_x(const ConvPlan<S>& plan, const Piece<T>& piece, Prefetcher& prefetch) {
  each_run(plan, piece, [&](const Run& run) {
    prefetch.add(plan.x.at(run.image, run.in_row, run.in_column), run.inside, plan.stride * plan.x.pixel,
                 plan.in_channels);
  });
}
template <class S, class T>
void add_grad(const ConvPlan<S>& plan, const Piece<T>& piece, Prefetcher& prefetch) {
  each_run(plan, piece, [&](const Run& run) {
    prefetch.add(plan.grad.at(run.image, run.row, run.column) + piece.part->begin, run.count, plan.grad.pixel,
                 piece.part->channels);
  });
}
template <class S, class T>
void add_dx(const ConvPlan<S>& plan, const Piece<T>& piece, Prefetcher& prefetch) {
  each_run(plan, piece, [&](const Run& run) {
    const int64_t column = run.column * plan.stride, count = std::min(run.count * plan.stride, plan.width - column);
    if (run.in_row < plan.height)
      prefetch.add(plan.dx_at(run.image, run.in_row, column), count, plan.in_channels, plan.in_channels);
  });
}
template <class S, class From, class T>
void add_output(const ConvPlan<S>& plan, const Piece<T>& piece, const From* output, Prefetcher& prefetch) {
  prefetch.add(output + piece.first * plan.out_channels + piece.part->begin, piece.count, plan.out_channels,
               piece.part->channels);
}

template <class S>
Chunk<compute_t<S>> take_chunk(const ConvPlan<S>& plan, Scratch<compute_t<S>>& scratch, int64_t channels) {
  return {scratch.take(channels * plan.chunk()), plan.chunk() * kBlock};
}

// What the passes take of their thread's memory.
template <class S>
struct ConvolveScratch {
  using T = compute_t<S>;
  Chunk<T> rectified, v;
  Moments<T> moments;
  ConvolveScratch(const ConvPlan<S>& plan, Scratch<T>& scratch)
      : rectified(take_chunk(plan, scratch, plan.in_padded())),
        v(take_chunk(plan, scratch, plan.out_padded)),
        moments(Moments<T>::take(scratch, plan.out_padded)) {}
};
template <class S>
struct GradientsScratch {
  using T = compute_t<S>;
  Chunk<T> rectified, dx, dv;
  GradientsScratch(const ConvPlan<S>& plan, Scratch<T>& scratch)
      : rectified(take_chunk(plan, scratch, plan.in_padded())),
        dx(take_chunk(plan, scratch, plan.in_padded())),
        dv(take_chunk(plan, scratch, plan.out_padded)) {}
};

}  // namespace conv

template <class S>
int64_t relu_conv_norm_scratch(const ConvPlan<S>& plan) {
  return std::max(scratch_of<conv::ConvolveScratch<S>, compute_t<S>>(plan),
                  scratch_of<conv::GradientsScratch<S>, compute_t<S>>(plan));
}

template <class S>
void relu_conv_norm_convolve(const ConvPlan<S>& plan, int64_t group, const Workspace<compute_t<S>>& memory) {
  using namespace conv;
  using T = compute_t<S>;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  ConvolveScratch<S> own(plan, scratch);
  const Chunk<T>&rectified = own.rectified, &v = own.v;
  Moments<T>& moments = own.moments;
  moments.reset();
  each_piece(plan, group, [&](const Piece<T>& piece, const Piece<T>& next) {
    const ConvPart<T>& part = *piece.part;
    fetch_rectified(plan, piece, rectified);
    Prefetcher prefetch;
    add_output(plan, piece, plan.v, prefetch);
    add_x(plan, next, prefetch);
    prefetch.spread(products(plan.in_blocks, part.blocks, piece.count));
    product(rectified.base, rectified.block, plan.in_blocks, part.weight, v.base, v.block, part.blocks, piece.count,
            prefetch);
    moments.empty = piece.first == plan.begin(group);
    for (int64_t c = 0; c < part.blocks * kBlock; c += kBlock)
      moments.add((part.padded_begin + c) / kBlock, v.at(c, 0), piece.count);
    put_output(plan, piece, v, plan.v);
  });
  double* sums = plan.sums_of(group);
  moments.merge(sums, sums + plan.out_padded, 0, plan.begin(group + 1) - plan.begin(group));
}

template <class S>
void relu_conv_norm_normalize(const ConvPlan<S>& plan, int64_t group, const Workspace<compute_t<S>>&) {
  using namespace conv;
  using T = compute_t<S>;
  const FlushDenormals flush;
  each_piece(plan, group, [&](const Piece<T>& piece, const Piece<T>&) {
    const ConvPart<T>& part = *piece.part;
    for (int64_t c = 0; c < part.channels; c += kWidth<T>) {
      const Vec<T> mean = load(plan.mean + part.padded_begin + c), rstd = load(plan.rstd + part.padded_begin + c);
      const Vec<T> offset = load(plan.offset + part.padded_begin + c);
      const T* v = plan.v + piece.first * plan.out_channels + part.begin;
      S* y = plan.y + piece.first * plan.out_channels + part.begin;
      for (int64_t k = 0; k < piece.count; ++k, v += plan.out_channels, y += plan.out_channels)
        write_part(y, c, part.channels, fma(read_part(v, c, part.channels) - mean, rstd, offset));
    }
  });
}

template <class S>
void relu_conv_norm_reduce(const ConvPlan<S>& plan, int64_t group, const Workspace<compute_t<S>>&) {
  using namespace conv;
  using T = compute_t<S>;
  const FlushDenormals flush;
  double* sums = plan.sums_of(group);
  std::memset(sums, 0, size_t(2 * plan.out_padded) * sizeof(double));
  each_piece(plan, group, [&](const Piece<T>& piece, const Piece<T>&) {
    const ConvPart<T>& part = *piece.part;
    for (int64_t c = 0; c < part.channels; c += kWidth<T>) {
      Vec<T> sum[2] = {}, product[2] = {};
      each_gradient(plan, piece, c, [&](int64_t, Vec<T> g, Vec<T> y) __attribute__((always_inline)) {
        sum[0] += g;
        product[0] = fma(g, y, product[0]);
        std::swap(sum[0], sum[1]);
        std::swap(product[0], product[1]);
      });
      add_to_sums(sums + part.padded_begin + c, sum[0] + sum[1]);
      add_to_sums(sums + plan.out_padded + part.padded_begin + c, product[0] + product[1]);
    }
  });
}

template <class S>
void relu_conv_norm_gradients(const ConvPlan<S>& plan, int64_t group, const Workspace<compute_t<S>>& memory) {
  using namespace conv;
  using T = compute_t<S>;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  const GradientsScratch<S> own(plan, scratch);
  const Chunk<T>&rectified = own.rectified, &dx = own.dx, &dv = own.dv;
  T* gradients = plan.weight_gradients + group * plan.weights;
  std::memset(gradients, 0, size_t(plan.weights) * sizeof(T));
  each_piece(plan, group, [&](const Piece<T>& piece, const Piece<T>& next) {
    const ConvPart<T>& part = *piece.part;
    for (int64_t c = 0; c < part.blocks * kBlock; c += kWidth<T>) {
      const Vec<T> gain = load(plan.gain + part.padded_begin + c), slope = load(plan.slope + part.padded_begin + c);
      const Vec<T> intercept = load(plan.intercept + part.padded_begin + c);
      each_gradient(plan, piece, c, [&](int64_t k, Vec<T> g, Vec<T> y) __attribute__((always_inline)) {
        store(dv.at(c, k), fma(gain, g, fma(slope, y, intercept)));
      });
    }
    fetch_rectified(plan, piece, rectified);
    Prefetcher writes, reads;
    add_dx(plan, piece, writes);
    add_grad(plan, next, reads);
    add_output(plan, next, plan.saved, reads);
    add_x(plan, next, reads);
    writes.spread(outer_products(plan.in_blocks, part.blocks, piece.count));
    outer_product(dv.base, dv.block, part.blocks, rectified.base, rectified.block, plan.in_blocks,
                  gradients + part.weights_at, piece.count, writes);
    reads.spread(products(part.blocks, plan.in_blocks, piece.count));
    product(dv.base, dv.block, part.blocks, part.transposed, dx.base, dx.block, plan.in_blocks, piece.count, reads);
    put_gradient(plan, piece, rectified, dx);
  });
}

#define BF_INSTANTIATE(S)                                                                              \
  template int64_t relu_conv_norm_scratch(const ConvPlan<S>&);                                         \
  template void relu_conv_norm_convolve(const ConvPlan<S>&, int64_t, const Workspace<compute_t<S>>&);  \
  template void relu_conv_norm_normalize(const ConvPlan<S>&, int64_t, const Workspace<compute_t<S>>&); \
  template void relu_conv_norm_reduce(const ConvPlan<S>&, int64_t, const Workspace<compute_t<S>>&);    \
  template void relu_conv_norm_gradients(const ConvPlan<S>&, int64_t, const Workspace<compute_t<S>>&);
BF_INSTANTIATE(float)
BF_INSTANTIATE(double)
BF_INSTANTIATE(bfloat16)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
