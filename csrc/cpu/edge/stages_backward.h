// The way back through the stages.
#pragma once

#include "stages.h"
#include "weighted_sum.h"

namespace base_fast {
namespace BF_ISA {
namespace edge {

// The way back through a batch norm, from channel c on: gain·g + slope·(v − mean) + intercept.
template <class T>
struct ThroughNorm {
  Vec<T> gain, slope, intercept, mean;
  ThroughNorm(const Norm<T>& norm, int64_t c)
      : gain(load(norm.gain + c)),
        slope(load(norm.slope + c)),
        intercept(load(norm.intercept + c)),
        mean(load(norm.mean + c)) {}
  BF_INLINE Vec<T> operator()(Vec<T> g, Vec<T> v) const { return fma(gain, g, fma(slope, v - mean, intercept)); }
};

// For `count` pixels of block b.
template <class T, class S>
void norm_backward(const Norm<T>& norm, int64_t b, const T* g, int64_t g_step, const S* v, int64_t count, T* dv) {
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const ThroughNorm<T> back(norm, b * kBlock + part);
#pragma GCC unroll 4
    for (int64_t j = 0; j < count; ++j)
      store(dv + j * kBlock + part, back(load(g + j * g_step + part), load(v + j * kBlock + part)));
  }
}

// Whether every pixel that a filter reads is reached by its transpose.
template <class T>
bool reaches_all(const Stage<T>& stage) {
  return stage.kind == StageKind::convolution && (stage.stride == 1 || stage.dilation == 1);
}

// dx (+)= the filter's transpose of a block's gradient, dx dense of `height` × `width`.
template <class T>
void depthwise_transposed(const Stage<T>& stage, const PaddedImage<T>& g, int64_t b, int64_t height, int64_t width,
                          T* dx, bool add, Prefetcher& prefetch) {
  const int k = stage.kernel, d = stage.dilation, s = stage.stride;
  const T* w = stage.scattered + b * k * k * kBlock;
  if (s == 1) {
    const int pad = d * (k / 2);
    const CorrelateRows<T, Prefetcher> correlate = correlate_of<T, Prefetcher>(k, 1, d);
    correlate(g.at(b, -pad, -pad), g.row, k, w, dx, width * kBlock, kBlock, height, width, add, prefetch);
    return;
  }
  for (int row = 0; row < 2; ++row) {
    for (int column = 0; column < 2; ++column) {
      const Parity p = parity_of(k, d, s, row, column);
      if (p.rows == 0 || p.columns == 0) continue;
      const CorrelateRows<T, Prefetcher> correlate = correlate_of<T, Prefetcher>(p.columns, 1, 1);
      correlate(g.at(b, p.row, p.column), g.row, p.rows, w, dx + (row * width + column) * kBlock, 2 * width * kBlock,
                2 * kBlock, (height - row + 1) / 2, (width - column + 1) / 2, add, prefetch);
      w += p.rows * p.columns * kBlock;
    }
  }
}

// What the backward of a stage takes of its thread's memory.
template <class T>
struct BackwardScratch {
  PaddedImage<T> filtered;  // the gradient of what the filter gives
  T* dv;                    // a chunk
  T* values;                // a chunk of what the filter gives, computed again
  T* dx;                    // the gradient of the rectified input, dense
  Amx<T> products;
  // For inputs of so many pixels.
  BackwardScratch(const Plan<T>& plan, Scratch<T>& scratch, int64_t pixels)
      : filtered(padded_value(plan, scratch)),
        dv(scratch.take(plan.chunk())),
        values(scratch.take(plan.chunk())),
        dx(scratch.take(plan.blocks * pixels * kBlock)),
        products(products_of(plan, scratch)) {}
};

// The channels of one half of a factorized reduction in block b, zeros for those of the other.
template <class T>
void keep_half(const ChannelRange& half, int64_t b, const T* from, int64_t count, T* to) {
  T lanes[kBlock];
  for (int64_t c = 0; c < kBlock; ++c)
    lanes[c] = b * kBlock + c >= half.begin && b * kBlock + c < half.end ? T(1) : T(0);
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const Ints<T> kept = load(lanes + part) > Vec<T>{};
    for (int64_t j = part; j < count * kBlock; j += kBlock) store(to + j, kept ? load(from + j) : Vec<T>{});
  }
}

// The two halves of a factorized reduction. An infinity among the gradients of one must not meet zeros of the other.
template <class T, class S>
void factorized_reduction_backward(const Plan<T>& plan, const Stage<T>& stage, const PaddedImage<T>& in,
                                   const View<T>& g, const S* v, const BackwardScratch<T>& back, T* gradients,
                                   T* halves) {
  const int64_t step = plan.chunk_rows(), columns = plan.out_width, pixels = plan.out_pixels();
  const int64_t block = step * columns * kBlock;
  for (int64_t begin = 0; begin < plan.out_height; begin += step) {
    const int64_t end = std::min(begin + step, plan.out_height), count = (end - begin) * columns;
    for (int64_t b = 0; b < plan.blocks; ++b)
      norm_backward(stage.norm, b, g.at(b, begin * columns), g.pixel, v + (b * pixels + begin * columns) * kBlock,
                    count, back.dv + b * block);
    NoPrefetch nothing;
    for (int h = 0; h < 2; ++h) {
      const ChannelRange half = half_of(plan.channels, h);
      const int64_t first = half.first(), matrix = h * plan.padded_channels() * plan.padded_channels();
      for (int64_t b = 0; b < plan.blocks; ++b) gather_rows(plan, in, b, h, begin, end, back.values + b * block);
      // Of its rows only this half's are read.
      back.products.outer_product(back.dv + first * block, block, half.blocks(), back.values, block, plan.blocks,
                                  gradients + stage.pointwise_at + matrix, count, nothing);
      for (int64_t b = 0; b < half.blocks(); ++b)
        keep_half(half, first + b, back.dv + (first + b) * block, count, back.values + b * block);
      back.products.product(back.values, block, half.blocks(), stage.transposed + matrix, halves, block, plan.blocks, 0,
                            1, count, nothing);
      for (int64_t b = 0; b < plan.blocks; ++b) {
        for (int64_t i = begin; i < end && 2 * i + h < plan.height; ++i) {
          T* to = back.dx + ((b * plan.height + 2 * i + h) * plan.width + h) * kBlock;
          const T* from = halves + b * block + (i - begin) * columns * kBlock;
          for (int64_t j = h; j < plan.width; j += 2, to += 2 * kBlock, from += kBlock) {
            for (int part = 0; part < kBlock; part += kWidth<T>) store(to + part, load(to + part) + load(from + part));
          }
        }
      }
    }
  }
}

// What a stage reads: the gradient of its normalized value, the value before the norm, and the values that its input is
// made of, where that is not at hand.
template <class T, class S>
struct StageInputs {
  View<T> g;
  View<S> v, input;
};

// A stage on one image: the gradients of its weights, and of its rectified input. `next` is what the stage after it
// will read.
template <class T, class S>
void stage_backward(const Plan<T>& plan, const Stage<T>& stage, const PaddedImage<T>& in, const StageInputs<T, S>& now,
                    const StageInputs<T, S>& next, int64_t height, int64_t width, const BackwardScratch<T>& back,
                    T* gradients, bool add) {
  const int64_t step = plan.chunk_rows(), columns = plan.out_width;
  const int64_t block = step * columns * kBlock;
  for (int64_t begin = 0; begin < plan.out_height; begin += step) {
    const int64_t end = std::min(begin + step, plan.out_height), count = (end - begin) * columns;
    // The next chunk, of this stage or of the next.
    const bool within = end < plan.out_height;
    const int64_t from = within ? end : 0, coming = std::min(step, plan.out_height - from) * columns;
    Prefetcher prefetch;
    add_view(prefetch, within ? now.v : next.v, plan.blocks, from * columns, coming);
    add_view(prefetch, within ? now.g : next.g, plan.blocks, from * columns, coming);
    prefetch.spread(plan.blocks * correlations(end - begin, columns) + outer_products(plan.blocks, plan.blocks, count) +
                    (end - begin) * products(plan.blocks, plan.blocks, columns));
    for (int64_t b = 0; b < plan.blocks; ++b) {
      norm_backward(stage.norm, b, now.g.at(b, begin * columns), now.g.pixel, now.v.at(b, begin * columns), count,
                    back.dv + b * block);
      depthwise_rows(plan, stage, in, b, begin, end, back.values + b * block, prefetch);
    }
    back.products.outer_product(back.dv, block, plan.blocks, back.values, block, plan.blocks,
                                gradients + stage.pointwise_at, count, prefetch);
    back.products.product(back.dv, block, plan.blocks, stage.transposed, back.filtered.at(0, begin, 0),
                          back.filtered.block, plan.blocks, back.filtered.row, end - begin, columns, prefetch);
  }
  const int k = stage.kernel, pad = stage.dilation * (k / 2);
  const WeightGradient<T> weight_gradient = weight_gradient_of<T>(k, stage.stride, stage.dilation);
  Prefetcher prefetch;
  add_view(prefetch, next.input, plan.blocks, 0, plan.out_pixels());
  prefetch.spread(plan.blocks * correlations(height, width));
  for (int64_t b = 0; b < plan.blocks; ++b) {
    weight_gradient(in.at(b, -pad, -pad), in.row, back.filtered.at(b, 0, 0), back.filtered.row, plan.out_height,
                    columns, gradients + stage.depthwise_at + b * k * k * kBlock);
    depthwise_transposed(stage, back.filtered, b, height, width, back.dx + b * height * width * kBlock, add, prefetch);
  }
}

// Through the ReLU of a second stage, to the normalized value of the first, with the sums that its norm's gradient asks
// for: where the ReLU is open, its value is the normalized one.
template <class T>
void relu_backward(const Plan<T>& plan, const PaddedImage<T>& hidden, int64_t b, const T* dh, T* du, double* sums) {
  const int64_t step = plan.chunk_rows(), width = plan.out_width;
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    for (int64_t begin = 0; begin < plan.out_height; begin += step) {
      Vec<T> sum[2] = {}, product[2] = {};
      for (int64_t i = begin; i < std::min(begin + step, plan.out_height); ++i) {
        const T *h = hidden.at(b, i, 0) + part, *from = dh + i * width * kBlock + part;
        T* to = du + i * width * kBlock + part;
        for (int64_t j = 0; j < width; ++j) {
          const Vec<T> value = load(h + j * kBlock);
          const Vec<T> d = value <= Vec<T>{} ? Vec<T>{} : load(from + j * kBlock);
          store(to + j * kBlock, d);
          sum[0] += d;
          product[0] = fma(d, value, product[0]);
          std::swap(sum[0], sum[1]);
          std::swap(product[0], product[1]);
        }
      }
      add_to_sums(sums + part, sum[0] + sum[1]);
      add_to_sums(sums + plan.padded_channels() + part, product[0] + product[1]);
    }
  }
}

// A group's gradients of the weights of some stages.
template <class T>
void clear_gradients(const Plan<T>& plan, int64_t group, int begin, int end) {
  const auto at = [&](int s) { return s < plan.first + plan.second ? plan.stages[s].depthwise_at : plan.weights; };
  if (begin == end) return;
  std::memset(plan.weight_gradients + group * plan.weights + at(begin), 0, size_t(at(end) - at(begin)) * sizeof(T));
}

// The second stages of image n on their way back.
template <class S, class T>
void second_stages_backward(const Plan<T>& plan, const CurrentImage& current,
                            const OutputGradients<T>& output_gradients, const PaddedImage<T>& hidden,
                            const BackwardScratch<T>& back) {
  const int64_t n = current.image;
  const int64_t pixels = plan.out_pixels(), height = plan.out_height, width = plan.out_width;
  for (int s = plan.first; s < plan.first + plan.second; ++s) {
    const Stage<T>& stage = plan.stages[s];
    const Stage<T>& from = plan.stages[stage.input];
    const bool last = s + 1 == plan.first + plan.second;
    const Stage<T>& following = plan.stages[last ? plan.first : s + 1];
    const int64_t of = last ? current.next : n;
    const StageInputs<T, S> next{
        {}, values_of<S>(plan, following, of), values_of<S>(plan, plan.stages[following.input], of)};
    fill_normalized<S>(plan, from, n, hidden);
    const StageInputs<T, S> now{output_gradients[stage.output], values_of<S>(plan, stage, n), {}};
    stage_backward(plan, stage, hidden, now, next, height, width, back,
                   plan.weight_gradients + current.group * plan.weights, false);
    for (int64_t b = 0; b < plan.blocks; ++b)
      relu_backward(plan, hidden, b, back.dx + b * pixels * kBlock,
                    from.gradient + n * image(plan) + b * pixels * kBlock,
                    plan.sums_of(current.group, stage.input) + b * kBlock);
  }
}

// The first stages of image n on their way back, to `back.dx`.
template <class S, class T>
void first_stages_backward(const Plan<T>& plan, const CurrentImage& current, const View<T>& x,
                           const OutputGradients<T>& output_gradients, const PaddedImage<T>& rectified,
                           const BackwardScratch<T>& back, T* halves) {
  const int64_t n = current.image;
  const auto inputs_of = [&](int s, int64_t of) {
    const Stage<T>& stage = plan.stages[s];
    const View<T> gradient = stage.last
                                 ? (of == n ? output_gradients[stage.output] : View<T>{nullptr, 0, 0})
                                 : View<T>{stage.gradient + of * image(plan), plan.out_pixels() * kBlock, kBlock};
    return StageInputs<T, S>{gradient, values_of<S>(plan, stage, of), {}};
  };
  T* gradients = plan.weight_gradients + current.group * plan.weights;
  fill_relu(plan, rectified, x);
  // The first one writes dx, if one can; all others add to it.
  int begin = 0;
  while (begin < plan.first && !reaches_all(plan.stages[begin])) ++begin;
  bool add = begin == plan.first;
  if (add) std::memset(back.dx, 0, size_t(plan.blocks * plan.pixels() * kBlock) * sizeof(T));
  for (int k = 0; k < plan.first; ++k, add = true) {
    const int s = (begin + k) % plan.first;
    const Stage<T>& stage = plan.stages[s];
    const StageInputs<T, S> now = inputs_of(s, n);
    const StageInputs<T, S> next = k + 1 < plan.first  ? inputs_of((s + 1) % plan.first, n)
                                   : current.next >= 0 ? inputs_of(begin % plan.first, current.next)
                                                       : StageInputs<T, S>{};
    if (stage.kind == StageKind::convolution) {
      stage_backward(plan, stage, rectified, now, next, plan.height, plan.width, back, gradients, add);
    } else {
      factorized_reduction_backward(plan, stage, rectified, now.g, now.v.base, back, gradients, halves);
    }
  }
}

template <class T>
struct SecondStagesBackwardScratch {
  OutputGradients<T> output_gradients;
  PaddedImage<T> input;
  BackwardScratch<T> back;
  SecondStagesBackwardScratch(const Plan<T>& plan, Scratch<T>& scratch)
      : output_gradients(plan, scratch), input(padded_value(plan, scratch)), back(plan, scratch, plan.out_pixels()) {}
};

}  // namespace edge

template <class T>
void mixed_op_second_stages_backward(const Plan<T>& plan, int64_t group, const Workspace<T>& memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  SecondStagesBackwardScratch<T> own(plan, scratch);
  clear_gradients(plan, group, plan.first, plan.first + plan.second);
  with_storage<T>(plan.value_storage, [&](auto* type) {
    each_image(plan, group, memory, [&](const CurrentImage& current) {
      own.output_gradients.move_to(current.image);
      second_stages_backward<std::remove_pointer_t<decltype(type)>>(plan, current, own.output_gradients, own.input,
                                                                    own.back);
    });
  });
}

}  // namespace BF_ISA
}  // namespace base_fast
