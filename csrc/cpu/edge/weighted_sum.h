// The last forward pass: the weighted sum.
#pragma once

#include "../blocked/pools.h"
#include "images.h"
#include "mixed_op.h"
#include "primitives.h"
#include "stages.h"

namespace base_fast {
namespace BF_ISA {
namespace edge {

// What y sums, some pixels of one block at a time: values of the last stages, as they are stored, and both pools.
template <class T, class S>
struct Terms {
  struct Term {
    const void* row;
    const Norm<T>* norm;
    int index;
  };
  Term all[kMostPrimitives + 2];
  int stored, count;

  void add(const void* row, const Norm<T>& norm, int index) { all[count++] = {row, &norm, index}; }

  // f(term, row) for each, the row of its own type.
  template <class F>
  BF_INLINE void each(const F& f) const {
    for (int k = 0; k < stored; ++k) f(all[k], static_cast<const S*>(all[k].row));
    for (int k = stored; k < count; ++k) f(all[k], static_cast<const T*>(all[k].row));
  }
};

// What edge t sums; the pools' rows are at `maxima` and `averages`.
template <class T, class S>
void terms_of(const Plan<T>& plan, int t, int64_t n, int64_t b, int64_t begin, const T* maxima, const T* averages,
              Terms<T, S>& terms) {
  const EdgeOutput<T>& output = plan.outputs[t];
  terms.count = 0;
  for (int k = 0; k < output.count; ++k) {
    const Stage<T>& stage = plan.stages[output.stages[k]];
    terms.add(values_of<S>(plan, stage, n).at(b, begin * plan.out_width), stage.norm, output.stages[k]);
  }
  terms.stored = terms.count;
  if (output.max_pool) terms.add(maxima, output.max_norm, plan.max_row() + t);
  if (output.avg_pool) terms.add(averages, output.avg_norm, plan.avg_row() + t);
}

// y: addend + (constant + Σ gain·(value − mean) + identity·x), N pixels at a time.
template <class T, int N, class S>
BF_INLINE void sum_tile(const Terms<T, S>& terms, int64_t c, int64_t at, Vec<T> constant, Vec<T> identity,
                        const Strided<const T>& x, const Strided<const T>& addend, const Strided<T>& y, int64_t first) {
  const int part = int(c % kBlock);
  Vec<T> sum[N];
#pragma GCC unroll 16
  for (int j = 0; j < N; ++j)
    sum[j] = x.base == nullptr ? constant : fma(identity, load(x.at(first + j) + part), constant);
  terms.each([&](const auto& term, const auto* row) __attribute__((always_inline)) {
    const Vec<T> gain = load(term.norm->gain + c), mean = load(term.norm->mean + c);
    row += at;
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) sum[j] = fma(gain, load(row + j * kBlock) - mean, sum[j]);
  });
  if (addend.base != nullptr) {
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) sum[j] = load(addend.at(first + j) + part) + sum[j];
  }
#pragma GCC unroll 16
  for (int j = 0; j < N; ++j) store(y.at(first + j) + part, sum[j]);
}

template <class T, class S>
void sum_pixels(const EdgeOutput<T>& output, const Terms<T, S>& terms, int64_t b, const Strided<const T>& x,
                const Strided<const T>& addend, const Strided<T>& y, int64_t count) {
  constexpr int N = kRegisters == 32 ? 8 : 4;
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const int64_t c = b * kBlock + part;
    const Vec<T> constant = load(output.constant + c), identity = all(output.identity);
    int64_t j = 0;
    for (; j + N <= count; j += N) sum_tile<T, N>(terms, c, part + j * kBlock, constant, identity, x, addend, y, j);
    for (; j < count; ++j) sum_tile<T, 1>(terms, c, part + j * kBlock, constant, identity, x, addend, y, j);
  }
}

// What the pass takes of its thread's memory.
template <class T>
struct WeightedSumScratch {
  T *x, *maxima, *averages, *sums;
  WeightedSumScratch(const Plan<T>& plan, Scratch<T>& scratch)
      : x(take_x(plan, scratch)),
        maxima(scratch.take(plan.block_chunk())),
        averages(scratch.take(plan.block_chunk())),
        sums(scratch.take(plan.block_chunk())) {}
};

}  // namespace edge

template <class T>
void mixed_op_weighted_sum(const Plan<T>& plan, int64_t group, const Workspace<T>& memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  const WeightedSumScratch<T> own(plan, scratch);
  const int64_t step = plan.chunk_rows(), columns = plan.out_width;
  const bool reads_x = plan.max_pool || plan.avg_pool || plan.has_identity;
  with_storage<T>(plan.value_storage, [&](auto* type) {
    Terms<T, std::remove_pointer_t<decltype(type)>> terms;
    for (int64_t n = plan.begin(group); n < plan.begin(group + 1); ++n) {
      const View<T> x = reads_x ? view_of(plan, plan.x, plan.x_pixel, n, plan.pixels(), own.x) : View<T>{};
      for (int64_t i = 0; i < plan.out_height; i += step) {
        const int64_t end = std::min(i + step, plan.out_height), count = (end - i) * columns;
        for (int64_t b = 0; b < plan.blocks; ++b) {
          if (plan.max_pool || plan.avg_pool)
            pool_rows(plan.pool_shape(), pools_of(plan.max_pool, plan.avg_pool), x, b, i, end, own.maxima,
                      own.averages);
          for (int t = 0; t < plan.count; ++t) {
            const EdgeOutput<T>& output = plan.outputs[t];
            terms_of(plan, t, n, b, i, own.maxima, own.averages, terms);
            const int64_t first = n * plan.out_pixels() + i * columns;
            const Strided<const T> from{output.has_identity ? x.at(b, i * columns) : nullptr, x.pixel};
            if (is_copied(plan)) {
              sum_pixels<T>(output, terms, b, from, {nullptr, 0}, {own.sums, kBlock}, count);
              put_pixels(plan, own.sums, b, count, {output.y, output.y_pixel, output.y_addend, output.y_addend_pixel},
                         first);
              continue;
            }
            sum_pixels(output, terms, b, from, in_place<const T>(output.y_addend, output.y_addend_pixel, first, b),
                       in_place<T>(output.y, output.y_pixel, first, b), count);
          }
        }
      }
    }
  });
}

}  // namespace BF_ISA
}  // namespace base_fast
