// The passes that compute the stages' values.
#pragma once

#include "../blocked/amx.h"
#include "../blocked/depthwise.h"
#include "../blocked/moments.h"
#include "../blocked/pools.h"
#include "images.h"
#include "mixed_op.h"

namespace base_fast {
namespace BF_ISA {
namespace edge {

template <class T>
struct Rectified {
  BF_INLINE Vec<T> operator()(Vec<T> v, int64_t) const { return relu(v); }
};
template <class T>
struct Normalized {
  const Norm<T>& norm;
  BF_INLINE Vec<T> operator()(Vec<T> v, int64_t c) const {
    return relu(fma(v - load(norm.mean + c), load(norm.rstd + c), load(norm.offset + c)));
  }
};

// relu(x), padded by zeros; the halo of `to` is written once and stays.
template <class T>
void fill_relu(const Plan<T>& plan, const PaddedImage<T>& to, const View<T>& x) {
  fill(to, x, plan.blocks, plan.height, plan.width, Rectified<T>{});
}

// A block's rows [begin, end) of a stage's depthwise convolution, dense.
template <class T, class A>
void depthwise_rows(const Plan<T>& plan, const Stage<T>& stage, const PaddedImage<T>& in, int64_t b, int64_t begin,
                    int64_t end, T* out, A& prefetch) {
  const int k = stage.kernel, pad = stage.dilation * (k / 2);
  correlate_of<T, A>(k, stage.stride, stage.dilation)(
      in.at(b, begin * stage.stride - pad, -pad), in.row, k, stage.depthwise + b * k * k * kBlock, out,
      plan.out_width * kBlock, kBlock, end - begin, plan.out_width, false, prefetch);
}

// Every other pixel of a block, from (shift, shift) on, rows [begin, end) of the output.
template <class T>
void gather_rows(const Plan<T>& plan, const PaddedImage<T>& in, int64_t b, int64_t shift, int64_t begin, int64_t end,
                 T* out) {
  for (int64_t i = begin; i < end; ++i) {
    const T* from = in.at(b, 2 * i + shift, shift);
    for (int64_t j = 0; j < plan.out_width; ++j, from += 2 * kBlock, out += kBlock)
      std::memcpy(out, from, kBlock * sizeof(T));
  }
}

// Values on their way to memory, dense blocks `from_block` apart: rounded there and here, so that whoever uses them now
// sees what backward will see.
template <class T, class S>
void keep(T* from, int64_t from_block, int64_t blocks, int64_t count, S* to, int64_t to_block) {
  for (int64_t b = 0; b < blocks; ++b) {
    T* p = from + b * from_block;
    S* q = to + b * to_block;
    for (int64_t j = 0; j < count * kBlock; j += kWidth<T>) {
      store(q + j, load(p + j));
      store(p + j, load(q + j));
    }
  }
}

// Chunks of all blocks, and the products over them.
template <class T>
struct Chunks {
  T *filtered, *other, *rounded;
  Amx<T> products;
  Chunks(const Plan<T>& plan, Scratch<T>& scratch)
      : filtered(scratch.take(plan.chunk())),
        other(scratch.take(plan.chunk())),
        rounded(scratch.take(plan.chunk())),
        products(products_of(plan, scratch)) {}
};

// A stage on one image: v and, unless they are known, its moments. Prefetching gained nothing here, measured.
template <class T, class S>
void stage_forward(const Plan<T>& plan, const Stage<T>& stage, const PaddedImage<T>& in, S* v, const Chunks<T>& chunks,
                   Moments<T>* moments) {
  constexpr bool kRounds = !std::is_same_v<S, T>;
  const int64_t step = plan.chunk_rows(), columns = plan.out_width, pixels = plan.out_pixels();
  const int64_t chunk_block = step * columns * kBlock, out_block = kRounds ? chunk_block : pixels * kBlock;
  T* chunk = chunks.filtered;
  if (moments != nullptr) moments->reset();
  for (int64_t begin = 0; begin < plan.out_height; begin += step) {
    const int64_t end = std::min(begin + step, plan.out_height), count = (end - begin) * columns;
    T* out = chunks.rounded;
    if constexpr (!kRounds) out = v + begin * columns * kBlock;
    NoPrefetch prefetch;
    if (stage.kind == StageKind::convolution) {
      for (int64_t b = 0; b < plan.blocks; ++b)
        depthwise_rows(plan, stage, in, b, begin, end, chunk + b * chunk_block, prefetch);
      chunks.products.product(chunk, chunk_block, plan.blocks, stage.pointwise, out, out_block, plan.blocks, 0, 1,
                              count, prefetch);
    } else {
      // Each half apart, so that an infinity among the pixels of one does not meet zeros of the other.
      for (int h = 0; h < 2; ++h) {
        const ChannelRange half = half_of(plan.channels, h);
        const T* w = stage.pointwise + h * plan.padded_channels() * plan.padded_channels();
        T* to = out + half.first() * out_block;
        for (int64_t b = 0; b < plan.blocks; ++b) gather_rows(plan, in, b, h, begin, end, chunk + b * chunk_block);
        int64_t shared = 0;
        // The block in which the first half ended.
        if (const int64_t taken = half.begin % kBlock; taken > 0) {
          chunks.products.product(chunk, chunk_block, plan.blocks, w, chunks.other, chunk_block, 1, 0, 1, count,
                                  prefetch);
          for (int64_t j = 0; j < count * kBlock; j += kBlock)
            std::copy(chunks.other + j + taken, chunks.other + j + kBlock, to + j + taken);
          shared = 1;
        }
        chunks.products.product(chunk, chunk_block, plan.blocks, w + shared * plan.padded_channels() * kBlock,
                                to + shared * out_block, out_block, half.blocks() - shared, 0, 1, count, prefetch);
      }
    }
    if constexpr (kRounds) keep(out, out_block, plan.blocks, count, v + begin * columns * kBlock, pixels * kBlock);
    if (moments == nullptr) continue;
    for (int64_t b = 0; b < plan.blocks; ++b) moments->add(b, out + b * out_block, count);
    moments->empty = false;
  }
}

// Elements of one image inside.
template <class T>
int64_t image(const Plan<T>& plan) {
  return plan.blocks * plan.out_pixels() * kBlock;
}

// A stage's values of image n, of none for −1.
template <class S, class T>
View<S> values_of(const Plan<T>& plan, const Stage<T>& stage, int64_t n) {
  if (n < 0) return {nullptr, 0, 0};
  return {static_cast<const S*>(stage.v) + n * image(plan), plan.out_pixels() * kBlock, kBlock};
}
template <class S, class T>
S* values_at(const Plan<T>& plan, const Stage<T>& stage, int64_t n) {
  return static_cast<S*>(stage.v) + n * image(plan);
}

// The input of a second stage: the first's values of image n, normalized and rectified.
template <class S, class T>
void fill_normalized(const Plan<T>& plan, const Stage<T>& from, int64_t n, const PaddedImage<T>& to) {
  fill(to, values_of<S>(plan, from, n), plan.blocks, plan.out_height, plan.out_width, Normalized<T>{from.norm});
}

template <class T>
void merge_moments(const Plan<T>& plan, const CurrentImage& current, const Moments<T>& moments, int norm) {
  double* sums = plan.sums_of(current.group, norm);
  const int64_t before = current.image - plan.begin(current.group);
  moments.merge(sums, sums + plan.padded_channels(), before * plan.out_pixels(), plan.out_pixels());
}

// The stages that read x, on image n. Moments are taken where there is a place for them.
template <class S, class T>
void first_stages(const Plan<T>& plan, const CurrentImage& current, const View<T>& x, const PaddedImage<T>& rectified,
                  const Chunks<T>& chunks, Moments<T>* moments) {
  if (plan.first > 0) fill_relu(plan, rectified, x);
  for (int s = 0; s < plan.first; ++s) {
    const Stage<T>& stage = plan.stages[s];
    if (moments == nullptr && stage.kept) continue;
    stage_forward(plan, stage, rectified, values_at<S>(plan, stage, current.image), chunks, moments);
    if (moments != nullptr) merge_moments(plan, current, *moments, s);
  }
}

// The stages that continue them.
template <class S, class T>
void second_stages(const Plan<T>& plan, const CurrentImage& current, const PaddedImage<T>& hidden,
                   const Chunks<T>& chunks, Moments<T>* moments) {
  for (int s = plan.first; s < plan.first + plan.second; ++s) {
    const Stage<T>& stage = plan.stages[s];
    if (moments == nullptr && stage.kept) continue;
    fill_normalized<S>(plan, plan.stages[stage.input], current.image, hidden);
    stage_forward(plan, stage, hidden, values_at<S>(plan, stage, current.image), chunks, moments);
    if (moments != nullptr) merge_moments(plan, current, *moments, s);
  }
}

// What the pass over the first stages takes of its thread's memory.
template <class T>
struct FirstStagesScratch {
  T* x;  // an image's copy
  PaddedImage<T> rectified;
  Chunks<T> chunks;
  Moments<T> moments, averages;
  FirstStagesScratch(const Plan<T>& plan, Scratch<T>& scratch)
      : x(take_x(plan, scratch)),
        rectified(padded_x(plan, scratch)),
        chunks(plan, scratch),
        moments(Moments<T>::take(scratch, plan.padded_channels())),
        averages(Moments<T>::take(scratch, plan.padded_channels())) {}
};

template <class T>
struct SecondStagesScratch {
  PaddedImage<T> input;
  Chunks<T> chunks;
  Moments<T> moments;
  SecondStagesScratch(const Plan<T>& plan, Scratch<T>& scratch)
      : input(padded_value(plan, scratch)),
        chunks(plan, scratch),
        moments(Moments<T>::take(scratch, plan.padded_channels())) {}
};

}  // namespace edge

template <class T>
void mixed_op_first_stages(const Plan<T>& plan, int64_t group, const Workspace<T>& memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  FirstStagesScratch<T> own(plan, scratch);
  each_image(plan, group, memory, [&](const CurrentImage& current) {
    const View<T> x = view_of(plan, plan.x, plan.x_pixel, current.image, plan.pixels(), own.x);
    with_storage<T>(plan.value_storage, [&](auto* type) {
      first_stages<std::remove_pointer_t<decltype(type)>>(plan, current, x, own.rectified, own.chunks, &own.moments);
    });
    if (!plan.max_pool && !plan.avg_pool) return;
    T *maximum = own.chunks.filtered, *average = own.chunks.other;
    own.moments.reset();
    own.averages.reset();
    for (int64_t i = 0; i < plan.out_height; i += plan.chunk_rows()) {
      const int64_t end = std::min(i + plan.chunk_rows(), plan.out_height), count = (end - i) * plan.out_width;
      for (int64_t b = 0; b < plan.blocks; ++b) {
        pool_rows(plan.pool_shape(), pools_of(plan.max_pool, plan.avg_pool), x, b, i, end, maximum, average);
        if (plan.max_pool) own.moments.add(b, maximum, count);
        if (plan.avg_pool) own.averages.add(b, average, count);
      }
      own.moments.empty = own.averages.empty = false;
    }
    if (plan.max_pool) merge_moments(plan, current, own.moments, plan.max_row());
    if (plan.avg_pool) merge_moments(plan, current, own.averages, plan.avg_row());
  });
}

template <class T>
void mixed_op_second_stages(const Plan<T>& plan, int64_t group, const Workspace<T>& memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  SecondStagesScratch<T> own(plan, scratch);
  with_storage<T>(plan.value_storage, [&](auto* type) {
    each_image(plan, group, memory, [&](const CurrentImage& current) {
      second_stages<std::remove_pointer_t<decltype(type)>>(plan, current, own.input, own.chunks, &own.moments);
    });
  });
}

}  // namespace BF_ISA
}  // namespace base_fast
