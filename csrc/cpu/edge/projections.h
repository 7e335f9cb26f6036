// The first backward pass: what the gradients of the norms ask for.
#pragma once

#include "stages.h"
#include "weighted_sum.h"

namespace base_fast {
namespace BF_ISA {
namespace edge {

// Σ g and Σ g·(value − mean) over some pixels of one block.
template <class T, class S>
void project_pixels(const Plan<T>& plan, const Terms<T, S>& terms, int64_t group, int64_t b, const T* g, int64_t g_step,
                    int64_t count) {
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const int64_t c = b * kBlock + part;
    const auto dot = [&](const auto* value, Vec<T> mean) __attribute__((always_inline)) {
      Vec<T> sum[4] = {};
      int64_t j = 0;
      for (; j + 4 <= count; j += 4) {
#pragma GCC unroll 4
        for (int l = 0; l < 4; ++l)
          sum[l] = fma(load(g + (j + l) * g_step + part), load(value + (j + l) * kBlock + part) - mean, sum[l]);
      }
      for (; j < count; ++j) sum[0] = fma(load(g + j * g_step + part), load(value + j * kBlock + part) - mean, sum[0]);
      return (sum[0] + sum[1]) + (sum[2] + sum[3]);
    };
    Vec<T> totals[2] = {};
    for (int64_t j = 0; j < count; ++j) {
      totals[0] += load(g + j * g_step + part);
      std::swap(totals[0], totals[1]);
    }
    const Vec<T> total = totals[0] + totals[1];
    terms.each([&](const auto& term, const auto* row) __attribute__((always_inline)) {
      double* sums = plan.sums_of(group, term.index) + c;
      add_to_sums(sums, total);
      add_to_sums(sums + plan.padded_channels(), dot(row, load(term.norm->mean + c)));
    });
  }
}

template <class T>
struct ProjectionsScratch {
  T* x;
  OutputGradients<T> output_gradients;
  T *maxima, *averages;
  PaddedImage<T> rectified, input;  // of the first stages, of the second
  Chunks<T> chunks;
  ProjectionsScratch(const Plan<T>& plan, Scratch<T>& scratch)
      : x(take_x(plan, scratch)),
        output_gradients(plan, scratch),
        maxima(scratch.take(plan.block_chunk())),
        averages(scratch.take(plan.block_chunk())),
        rectified(padded_x(plan, scratch)),
        input(padded_value(plan, scratch)),
        chunks(plan, scratch) {}
};

}  // namespace edge

template <class T>
void mixed_op_projections(const Plan<T>& plan, int64_t group, const Workspace<T>& memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  ProjectionsScratch<T> own(plan, scratch);
  const int64_t step = plan.chunk_rows(), columns = plan.out_width;
  const bool reads_x = plan.max_pool || plan.avg_pool || plan.recompute;
  std::memset(plan.sums_of(group, 0), 0, size_t(plan.rows() * 2 * plan.padded_channels()) * sizeof(double));
  with_storage<T>(plan.value_storage, [&](auto* type) {
    using S = std::remove_pointer_t<decltype(type)>;
    Terms<T, S> terms;
    each_image(plan, group, memory, [&](const CurrentImage& current) {
      const int64_t n = current.image;
      const View<T> x = reads_x ? view_of(plan, plan.x, plan.x_pixel, n, plan.pixels(), own.x) : View<T>{};
      own.output_gradients.move_to(n);
      if (plan.recompute) {
        // The norms are known, so nothing stands between the first stages and the second.
        first_stages<S, T>(plan, current, x, own.rectified, own.chunks, nullptr);
        second_stages<S, T>(plan, current, own.input, own.chunks, nullptr);
      }
      for (int64_t i = 0; i < plan.out_height; i += step) {
        const int64_t end = std::min(i + step, plan.out_height);
        for (int64_t b = 0; b < plan.blocks; ++b) {
          if (plan.max_pool || plan.avg_pool)
            pool_rows(plan.pool_shape(), pools_of(plan.max_pool, plan.avg_pool), x, b, i, end, own.maxima,
                      own.averages);
          for (int t = 0; t < plan.count; ++t) {
            terms_of(plan, t, n, b, i, own.maxima, own.averages, terms);
            const View<T> g = own.output_gradients[t];
            project_pixels(plan, terms, group, b, g.at(b, i * columns), g.pixel, (end - i) * columns);
          }
        }
      }
    });
  });
}

}  // namespace BF_ISA
}  // namespace base_fast
