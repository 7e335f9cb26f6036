// Σ_k w_k·(x_k − mean_k)·rstd_k. Forward: moments (partial sums), statistics (of a channel), the sum. Backward:
// products (partial sums), coefficients (of a channel), the gradients.
#pragma once

#include "channels.h"
#include "device.h"
#include "reduce.h"
#include "weights.h"

#include "../core/math.h"
#include "../core/mixed_norm_sum.h"

namespace base_fast {
namespace BF_ISA {

// Blocks on a multiprocessor that are enough for the kernels with many sums: for more, registers would be spilled.
constexpr int kBlocksAtLeast = 3;

// Columns of channels that a block of the kernels of small tables takes.
constexpr int kTableColumns = 16;

struct Normalized {
  bool at[kBranches];
};

// Partial sums of one quantity.
__device__ __forceinline__ int64_t count_of_sums(const ChannelWalk& walk, int branches) {
  return static_cast<int64_t>(walk.slices) * branches * walk.channels;
}

// A sum for each of a group's channels over the block's threads, which all come; the first row of them writes it.
template <Lanes lanes>
__device__ __forceinline__ void store_sums(const double* sums, const ChannelWalk& walk, const Part& part, double* to) {
  BF_UNROLL
  for (int j = 0; j < Access<lanes>::kChannels; ++j) {
    const double sum = block_sum(sums[j], walk.across);
    const int64_t channel = part.group * Access<lanes>::kChannels + j;
    if (threadIdx.x < walk.across && part.group < walk.groups) to[channel] = sum;
  }
}

// sums (2, slices, branches, C): Σ(x − first) and Σ(x − first)², where `first` is the channel's first element, which
// lies within the data: nothing large cancels. Operand 1 + k is branch k.
template <class T, Lanes lanes>
__global__ void __launch_bounds__(kMostThreads, kBlocksAtLeast)
    mixed_norm_sum_moments_kernel(const __grid_constant__ ChannelWalk walk,
                                  const __grid_constant__ Branches<T, T> branches, double* __restrict__ sums) {
  using A = Access<lanes>;
  using C = compute_t<T>;
  const Part part = part_of(walk, branches.count);
  const int operand = 1 + part.k;
  double sum[A::kChannels] = {}, square[A::kChannels] = {};
  if (part.group < walk.groups) {
    const T* const x = branches.x[part.k] + part.group * walk.group[operand];
    C first[A::kChannels];
    for (int j = 0; j < A::kChannels; ++j) first[j] = to_float(x[j * walk.channel[operand]]);
    for (int64_t i = part.first; i < walk.pixels; i += kRuns * part.step) {
      C run_sum[A::kChannels] = {}, run_square[A::kChannels] = {};
      BF_UNROLL
      for (int run = 0; run < kRuns; ++run) {
        const int64_t pixel = i + run * part.step;
        if (pixel >= walk.pixels) continue;
        const auto values = A::load(x + walk.walk.offset(walk.walk.place(pixel), operand));
        BF_UNROLL
        for (int j = 0; j < A::kWidth; ++j) {
          const C d = to_float(values.x[j]) - first[A::channel(j)];
          run_sum[A::channel(j)] += d;
          run_square[A::channel(j)] += d * d;
        }
      }
      BF_UNROLL
      for (int j = 0; j < A::kChannels; ++j) sum[j] += run_sum[j], square[j] += run_square[j];
    }
  }
  double* const to = sums + (part.slice * branches.count + part.k) * walk.channels;
  store_sums<lanes>(sum, walk, part, to);
  store_sums<lanes>(square, walk, part, to + count_of_sums(walk, branches.count));
}

// Where a thread of the kernels of small tables is: a block takes one branch and kTableColumns channels; `row`s of its
// threads share the slices.
struct TableCell {
  int k;
  int64_t channel;
  int64_t row, rows;
};
__device__ __forceinline__ TableCell table_cell(unsigned branches) {
  return {static_cast<int>(blockIdx.x % branches),
          static_cast<int64_t>(blockIdx.x / branches) * kTableColumns + threadIdx.x % kTableColumns,
          threadIdx.x / kTableColumns, blockDim.x / kTableColumns};
}

// Σ over the slices of sums (slices, branches, C).
__device__ __forceinline__ double sum_of_slices(const double* sums, const TableCell& cell, const ChannelWalk& walk,
                                                int branches) {
  double sum = 0.0;
  if (cell.channel < walk.channels) {
    for (int64_t slice = cell.row; slice < walk.slices; slice += cell.rows) {
      sum += sums[(slice * branches + cell.k) * walk.channels + cell.channel];
    }
  }
  return block_sum(sum, kTableColumns);
}

// mean, rstd (branches, C) from the moments and 1/pixels, and the terms' scale and rest, (2, branches, C).
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    mixed_norm_sum_statistics_kernel(const __grid_constant__ ChannelWalk walk,
                                     const __grid_constant__ Branches<T, T> branches,
                                     const __grid_constant__ Normalized normalized,
                                     const T* __restrict__ weights, double share, double eps,
                                     const double* __restrict__ sums, compute_t<T>* __restrict__ mean,
                                     compute_t<T>* __restrict__ rstd, compute_t<T>* __restrict__ terms) {
  using C = compute_t<T>;
  const TableCell cell = table_cell(branches.count);
  const int64_t quantity = count_of_sums(walk, branches.count);
  const double sum = sum_of_slices(sums, cell, walk, branches.count);
  const double square = sum_of_slices(sums + quantity, cell, walk, branches.count);
  if (cell.row != 0 || cell.channel >= walk.channels) return;
  double m = 0.0, r = 1.0;
  if (normalized.at[cell.k]) {
    const double shift = sum * share, variance = square * share - shift * shift;
    m = to_float(branches.x[cell.k][cell.channel * walk.channel[1 + cell.k]]) + shift;
    r = 1.0 / sqrt_((variance < 0.0 ? 0.0 : variance) + eps);
  }
  const NormTerm<C> term = norm_term<C>(to_float(weights[branches.position[cell.k]]), m, r);
  const int64_t at = cell.k * walk.channels + cell.channel;
  mean[at] = static_cast<C>(m);
  rstd[at] = static_cast<C>(r);
  terms[at] = term.scale;
  terms[branches.count * walk.channels + at] = static_cast<C>(term.rest);
}

// y = Σ. Operand 0 is y (and `sums`, see mixed_sum_kernel), 1 + k branch k.
template <class T, Lanes lanes>
__global__ void __launch_bounds__(kMostThreads)
    mixed_norm_sum_kernel(const __grid_constant__ ChannelWalk walk, const __grid_constant__ Branches<T, T> branches,
                          const compute_t<T>* __restrict__ mean, const compute_t<T>* __restrict__ terms,
                          compute_t<T>* sums, bool first, bool last, T* __restrict__ y) {
  using A = Access<lanes>;
  using C = compute_t<T>;
  const Part part = part_of(walk, 1);
  if (part.group >= walk.groups) return;
  const C* const scales = terms;
  const C* const rests = terms + branches.count * walk.channels;
  C start[A::kChannels] = {};
  for (int k = 0; k < branches.count; ++k) {
    const auto rest = A::per_channel(rests + k * walk.channels, part.group);
    BF_UNROLL
    for (int j = 0; j < A::kChannels; ++j) start[j] += rest.x[j];
  }
  const int64_t group = part.group * walk.group[0];
  for (int64_t i = part.first; i < walk.pixels; i += kRuns * part.step) {
    Place<3> places[kRuns];
    Some<C, A::kWidth> sum[kRuns];
    BF_UNROLL
    for (int run = 0; run < kRuns; ++run) {
      const int64_t pixel = i + run * part.step;
      places[run] = walk.walk.place(pixel < walk.pixels ? pixel : i);
      if (!first) sum[run] = A::load(sums + group + walk.walk.offset(places[run], 0));
      BF_UNROLL
      for (int j = 0; j < A::kWidth; ++j) sum[run].x[j] = (first ? C(0) : sum[run].x[j]) + start[A::channel(j)];
    }
    for (int k = 0; k < branches.count; ++k) {
      const T* const x = branches.x[k] + part.group * walk.group[1 + k];
      const auto m = A::per_channel(mean + k * walk.channels, part.group);
      const auto scale = A::per_channel(scales + k * walk.channels, part.group);
      BF_UNROLL
      for (int run = 0; run < kRuns; ++run) {
        const auto values = A::load(x + walk.walk.offset(places[run], 1 + k));
        BF_UNROLL
        for (int j = 0; j < A::kWidth; ++j) {
          sum[run].x[j] = norm_sum_term<C>(sum[run].x[j], scale.x[A::channel(j)], m.x[A::channel(j)],
                                           to_float(values.x[j]));
        }
      }
    }
    BF_UNROLL
    for (int run = 0; run < kRuns; ++run) {
      if (i + run * part.step >= walk.pixels) continue;
      const int64_t at = group + walk.walk.offset(places[run], 0);
      if (last) {
        Some<T, A::kWidth> out;
        BF_UNROLL
        for (int j = 0; j < A::kWidth; ++j) out.x[j] = from_float<T>(sum[run].x[j]);
        A::store(y + at, out);
      } else {
        A::store(sums + at, sum[run]);
      }
    }
  }
}

// sums (2, slices, branches, C): Σ g and Σ g·(x − mean). Operand 0 is the gradient, 1 + k branch k.
template <class T, class X, Lanes lanes>
__global__ void __launch_bounds__(kMostThreads, kBlocksAtLeast)
    mixed_norm_sum_products_kernel(const __grid_constant__ ChannelWalk walk, const T* __restrict__ grad,
                                   const __grid_constant__ Branches<X, T> branches,
                                   const compute_t<T>* __restrict__ mean, double* __restrict__ sums) {
  using A = Access<lanes>;
  using C = compute_t<T>;
  const Part part = part_of(walk, branches.count);
  const int operand = 1 + part.k;
  double sum[A::kChannels] = {}, product[A::kChannels] = {};
  if (part.group < walk.groups) {
    const T* const g = grad + part.group * walk.group[0];
    const X* const x = branches.x[part.k] + part.group * walk.group[operand];
    const auto m = A::per_channel(mean + part.k * walk.channels, part.group);
    for (int64_t i = part.first; i < walk.pixels; i += kRuns * part.step) {
      C run_sum[A::kChannels] = {}, run_product[A::kChannels] = {};
      BF_UNROLL
      for (int run = 0; run < kRuns; ++run) {
        const int64_t pixel = i + run * part.step;
        if (pixel >= walk.pixels) continue;
        const auto place = walk.walk.place(pixel);
        const auto gradients = A::load(g + walk.walk.offset(place, 0));
        const auto values = A::load(x + walk.walk.offset(place, operand));
        BF_UNROLL
        for (int j = 0; j < A::kWidth; ++j) {
          const C g_j = to_float(gradients.x[j]);
          run_sum[A::channel(j)] += g_j;
          run_product[A::channel(j)] += g_j * (C(to_float(values.x[j])) - m.x[A::channel(j)]);
        }
      }
      BF_UNROLL
      for (int j = 0; j < A::kChannels; ++j) sum[j] += run_sum[j], product[j] += run_product[j];
    }
  }
  double* const to = sums + (part.slice * branches.count + part.k) * walk.channels;
  store_sums<lanes>(sum, walk, part, to);
  store_sums<lanes>(product, walk, part, to + count_of_sums(walk, branches.count));
}

// From the products and 1/pixels: Σ g·x̂ (branches, C), which is the weights' gradient channel by channel, and the
// coefficients scale, slope and shift (3, branches, C) of the branches'.
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    mixed_norm_sum_coefficients_kernel(const __grid_constant__ ChannelWalk walk,
                                       const __grid_constant__ Positions positions,
                                       const __grid_constant__ Normalized normalized, const T* __restrict__ weights,
                                       double share, const double* __restrict__ sums,
                                       const compute_t<T>* __restrict__ mean,
                                       const compute_t<T>* __restrict__ rstd, double* __restrict__ along,
                                       compute_t<T>* __restrict__ coefficients) {
  using C = compute_t<T>;
  const TableCell cell = table_cell(positions.count);
  const int64_t quantity = count_of_sums(walk, positions.count);
  const double sum = sum_of_slices(sums, cell, walk, positions.count);
  const double product = sum_of_slices(sums + quantity, cell, walk, positions.count);
  if (cell.row != 0 || cell.channel >= walk.channels) return;
  const int64_t at = cell.k * walk.channels + cell.channel, row = positions.count * walk.channels;
  const double weight = to_float(weights[positions.at[cell.k]]), r = rstd[at];
  NormGradient<C> d = norm_gradient<C>(weight, mean[at], r, sum * share, product * share);
  if (!normalized.at[cell.k]) d.scale = static_cast<C>(weight);
  along[at] = product * r;
  coefficients[at] = d.scale;
  coefficients[row + at] = d.slope;
  coefficients[2 * row + at] = d.shift;
}

// dx_k = scale·g + slope·(x − mean) + shift; scale·g where branch k is not normalized, which is then not read. Operand
// 0 is the gradient, 1 + k branch k, and 1 + kBranches + k its gradient.
template <class T, class X, Lanes lanes>
__global__ void __launch_bounds__(kMostThreads)
    mixed_norm_sum_backward_kernel(const __grid_constant__ ChannelWalk walk, const T* __restrict__ grad,
                                   const __grid_constant__ Branches<X, T> branches,
                                   const __grid_constant__ Normalized normalized,
                                   const compute_t<T>* __restrict__ mean,
                                   const compute_t<T>* __restrict__ coefficients) {
  using A = Access<lanes>;
  using C = compute_t<T>;
  const Part part = part_of(walk, branches.count);
  if (part.group >= walk.groups) return;
  const int k = part.k;
  const bool reads = normalized.at[k];
  const int64_t row = branches.count * walk.channels;
  const C* const of_branch = coefficients + k * walk.channels;
  const auto m = A::per_channel(mean + k * walk.channels, part.group);
  const auto scale = A::per_channel(of_branch, part.group);
  const auto slope = A::per_channel(of_branch + row, part.group);
  const auto shift = A::per_channel(of_branch + 2 * row, part.group);
  const T* const g = grad + part.group * walk.group[0];
  const X* const x = branches.x[k] + part.group * walk.group[1 + k];
  T* const dx = branches.dx[k] + part.group * walk.group[1 + kBranches + k];
  for (int64_t i = part.first; i < walk.pixels; i += part.step) {
    const auto place = walk.walk.place(i);
    const auto gradients = A::load(g + walk.walk.offset(place, 0));
    Some<X, A::kWidth> values{};
    if (reads) values = A::load(x + walk.walk.offset(place, 1 + k));
    Some<T, A::kWidth> d;
    BF_UNROLL
    for (int j = 0; j < A::kWidth; ++j) {
      const int c = A::channel(j);
      const C g_j = to_float(gradients.x[j]), x_j = to_float(values.x[j]);
      d.x[j] = from_float<T>(reads ? norm_d_branch<C>(scale.x[c], slope.x[c], m.x[c], shift.x[c], g_j, x_j)
                                   : scale.x[c] * g_j);
    }
    A::store(dx + walk.walk.offset(place, 1 + kBranches + k), d);
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
