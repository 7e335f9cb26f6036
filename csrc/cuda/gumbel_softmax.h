// z = softmax((φ + s·ξ)/τ). Noise is drawn while a tile is brought in: a
// thread takes one Philox block, four elements.
#pragma once

#include <cmath>

#include "device.h"
#include "rows.h"

#include "../core/gumbel_softmax.h"
#include "../core/philox.h"

namespace base_fast {
namespace BF_ISA {

// max x and Σ exp(x − max x) of a row.
template <class C>
struct RowSums {
  C most;
  C exp;
};

// Of x(l), l < entries, by the `lanes` threads of a row; all threads of a block call it.
template <class C, class F>
__device__ __forceinline__ RowSums<C> row_sums(int64_t entries, unsigned lanes, const F& x) {
  const int64_t lane = threadIdx.x & (lanes - 1);
  C most = -static_cast<C>(HUGE_VAL);
  for (int64_t l = lane; l < entries; l += lanes) most = Most()(most, x(l));
  most = joined(most, lanes, Most());
  C exp = 0;
  for (int64_t l = lane; l < entries; l += lanes) exp += exp_negative(x(l) - most);
  return {most, joined(exp, lanes, Plus())};
}

// z(l) of a row to store(l, z), from its scores x. `store` may overwrite x(l). Hard: one at the first of the largest z
// as they are once rounded, zeros elsewhere; a row that is not a number stays so.
template <class T, class C, class F, class S>
__device__ __forceinline__ void store_row(int64_t entries, unsigned lanes, const RowSums<C>& sums, bool hard,
                                          const F& x, const S& store) {
  const int64_t lane = threadIdx.x & (lanes - 1);
  const C scale = C(1) / sums.exp;
  if (!hard) {
    for (int64_t l = lane; l < entries; l += lanes) store(l, exp_negative(x(l) - sums.most) * scale);
    return;
  }
  const C largest = to_float(from_float<T>(scale));
  int64_t chosen = entries;
  for (int64_t l = lane; l < entries; l += lanes) {
    if (to_float(from_float<T>(exp_negative(x(l) - sums.most) * scale)) == largest) {
      chosen = l;
      break;
    }
  }
  chosen = joined(chosen, lanes, Least());
  for (int64_t l = lane; l < entries; l += lanes) store(l, (l == chosen ? C(1) : C(0)) + (scale - scale));
}

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    gumbel_softmax_kernel(const T* __restrict__ logits, const int64_t* __restrict__ key, RowTiles tiles, double tau,
                          bool hard, double noise, T* __restrict__ z, bool aligned) {
  using C = compute_t<T>;
  __shared__ C scores[kTile];
  const Key k = load_key(key);
  const C inverse_tau = static_cast<C>(1.0 / tau);
  const float scale = static_cast<float>(noise);
  const int64_t count = tiles.rows * tiles.entries;
  for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
    for_quads(tiles, tile, [&](int64_t quad, const unsigned* at) {
      if (4 * quad >= count) return;
      const Four<T> phi = load4(logits, quad, count, aligned);
      const Noise4 xi = gumbel4(k, quad);
      BF_UNROLL
      for (int j = 0; j < 4; ++j) {
        scores[at[j]] = gumbel_score<C>(to_float(phi.x[j]), scale * xi.x[j], inverse_tau);
      }
    });
    __syncthreads();
    const unsigned at_once = blockDim.x / tiles.lanes;
    for (unsigned first = 0; first < tiles.tile_rows; first += at_once) {
      const unsigned row = first + threadIdx.x / tiles.lanes;
      const int64_t global_row = tile * tiles.tile_rows + row;
      // Threads without a row take part in what a block does together.
      const unsigned entries = row < tiles.tile_rows && global_row < tiles.rows ? tiles.entries : 0;
      C* const x = scores + (entries > 0 ? row * tiles.pitch : 0);
      const auto score = [&](int64_t l) { return x[l]; };
      const RowSums<C> sums = row_sums<C>(entries, tiles.lanes, score);
      store_row<T>(entries, tiles.lanes, sums, hard, score, [&](int64_t l, C y) { x[l] = y; });
    }
    __syncthreads();
    for_quads(tiles, tile, [&](int64_t quad, const unsigned* at) {
      if (4 * quad >= count) return;
      Four<T> y;
      BF_UNROLL
      for (int j = 0; j < 4; ++j) y.x[j] = from_float<T>(scores[at[j]]);
      store4(z, quad, count, aligned, y);
    });
    __syncthreads();
  }
}

// A block takes a whole row, and draws the noise again wherever it is needed.
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    gumbel_softmax_long_kernel(const T* __restrict__ logits, const int64_t* __restrict__ key, int64_t rows,
                               int64_t entries, double tau, bool hard, double noise, T* __restrict__ z) {
  using C = compute_t<T>;
  const Key k = load_key(key);
  const C inverse_tau = static_cast<C>(1.0 / tau);
  const float scale = static_cast<float>(noise);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const auto xi = [&](int64_t l) {
      const int64_t i = row * entries + l;
      const Words4 words = words4(k, i / 4);
      const uint32_t low = i & 1 ? words.x[1] : words.x[0], high = i & 1 ? words.x[3] : words.x[2];
      return scale * gumbel(i & 2 ? high : low);
    };
    const auto score = [&](int64_t l) {
      return gumbel_score<C>(to_float(logits[row * entries + l]), xi(l), inverse_tau);
    };
    const RowSums<C> sums = row_sums<C>(entries, blockDim.x, score);
    store_row<T>(entries, blockDim.x, sums, hard, score,
                 [&](int64_t l, C y) { z[row * entries + l] = from_float<T>(y); });
  }
}

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    gumbel_softmax_backward_kernel(const T* __restrict__ grad, const T* __restrict__ z, RowTiles tiles, double tau,
                                   T* __restrict__ d_logits, bool aligned) {
  using C = compute_t<T>;
  __shared__ C gradients[kTile], samples[kTile];
  const C inverse_tau = static_cast<C>(1.0 / tau);
  const int64_t count = tiles.rows * tiles.entries;
  for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
    for_quads(tiles, tile, [&](int64_t quad, const unsigned* at) {
      if (4 * quad >= count) return;
      const Four<T> g = load4(grad, quad, count, aligned), y = load4(z, quad, count, aligned);
      BF_UNROLL
      for (int j = 0; j < 4; ++j) gradients[at[j]] = to_float(g.x[j]), samples[at[j]] = to_float(y.x[j]);
    });
    __syncthreads();
    const unsigned at_once = blockDim.x / tiles.lanes;
    for (unsigned first = 0; first < tiles.tile_rows; first += at_once) {
      const unsigned row = first + threadIdx.x / tiles.lanes, lane = threadIdx.x & (tiles.lanes - 1);
      const int64_t global_row = tile * tiles.tile_rows + row;
      const unsigned entries = row < tiles.tile_rows && global_row < tiles.rows ? tiles.entries : 0;
      C* const g = gradients + (entries > 0 ? row * tiles.pitch : 0);
      const C* const y = samples + (entries > 0 ? row * tiles.pitch : 0);
      C inner = 0;
      for (unsigned l = lane; l < entries; l += tiles.lanes) inner += g[l] * y[l];
      inner = joined(inner, tiles.lanes, Plus());
      for (unsigned l = lane; l < entries; l += tiles.lanes) {
        g[l] = gumbel_softmax_d_logit<C>(g[l], y[l], inner, inverse_tau);
      }
    }
    __syncthreads();
    for_quads(tiles, tile, [&](int64_t quad, const unsigned* at) {
      if (4 * quad >= count) return;
      Four<T> d;
      BF_UNROLL
      for (int j = 0; j < 4; ++j) d.x[j] = from_float<T>(gradients[at[j]]);
      store4(d_logits, quad, count, aligned, d);
    });
    __syncthreads();
  }
}

template <class T>
__global__ void __launch_bounds__(kMostThreads, 4)
    gumbel_softmax_long_backward_kernel(const T* __restrict__ grad, const T* __restrict__ z, int64_t rows,
                                        int64_t entries, double tau, T* __restrict__ d_logits) {
  using C = compute_t<T>;
  const C inverse_tau = static_cast<C>(1.0 / tau);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t end = (row + 1) * entries;
    C inner = 0;
    for (int64_t i = row * entries + threadIdx.x; i < end; i += blockDim.x) inner += to_float(grad[i]) * to_float(z[i]);
    inner = joined(inner, blockDim.x, Plus());
    for (int64_t i = row * entries + threadIdx.x; i < end; i += blockDim.x) {
      d_logits[i] = from_float<T>(gumbel_softmax_d_logit<C>(to_float(grad[i]), to_float(z[i]), inner, inverse_tau));
    }
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
