// Σ_k w_k·x_k: a thread holds the sum of some elements while it reads them from one branch after the other.
//
// Where all tensors lie alike, elements are taken in fours; else one by one, each tensor by its own strides.
#pragma once

#include "device.h"
#include "reduce.h"
#include "walk.h"
#include "weights.h"

#include "../core/mixed_sum.h"

namespace base_fast {
namespace BF_ISA {

// Elements [4·i, 4·i + 4) of a tensor that lies like all others.
struct AlikeElements {
  int64_t count;
  bool aligned;

  static constexpr int kWidth = 4;
  using At = int64_t;
  __device__ __forceinline__ At at(int64_t i) const { return i; }
  template <class T>
  __device__ __forceinline__ Four<T> load(const T* x, int, At at) const {
    return load4(x, at, count, aligned);
  }
  template <class T>
  __device__ __forceinline__ void store(T* x, int, At at, Four<T> y) const {
    store4(x, at, count, aligned, y);
  }
};

// Axes that branches may have once those that lie in each other are joined.
constexpr int kElementAxes = 6;

// Element i of a walk.
struct WalkedElements {
  int64_t count;
  Walk<kElementAxes> walk;

  static constexpr int kWidth = 1;
  using At = Place<kElementAxes>;
  __device__ __forceinline__ At at(int64_t i) const { return walk.place(i); }
  template <class T>
  __device__ __forceinline__ One<T> load(const T* x, int operand, const At& at) const {
    return {{x[walk.offset(at, operand)]}};
  }
  template <class T>
  __device__ __forceinline__ void store(T* x, int operand, const At& at, One<T> y) const {
    x[walk.offset(at, operand)] = y.x[0];
  }
};

// Operand 0 is y, operand 1 + k branch k. A list of more than kBranches takes several launches, which pass on `sums`.
template <class T, class Elements>
__global__ void __launch_bounds__(kMostThreads)
    mixed_sum_kernel(const __grid_constant__ Elements elements, const __grid_constant__ Branches<T, T> branches,
                     const T* __restrict__ weights, compute_t<T>* sums, bool first, bool last, T* __restrict__ y) {
  using C = compute_t<T>;
  constexpr int width = Elements::kWidth;
  for (int64_t i = thread_index(); width * i < elements.count; i += thread_count()) {
    const auto at = elements.at(i);
    Some<C, width> sum{};
    if (!first) sum = elements.load(sums, 0, at);
    BF_UNROLL_4
    for (int k = 0; k < branches.count; ++k) {
      const C weight = to_float(weights[branches.position[k]]);
      const Some<T, width> x = elements.load(branches.x[k], 1 + k, at);
      BF_UNROLL
      for (int j = 0; j < width; ++j) sum.x[j] = mixed_sum_term<C>(sum.x[j], weight, to_float(x.x[j]));
    }
    if (last) {
      Some<T, width> out;
      BF_UNROLL
      for (int j = 0; j < width; ++j) out.x[j] = from_float<T>(sum.x[j]);
      elements.store(y, 0, at, out);
    } else {
      elements.store(sums, 0, at, sum);
    }
  }
}

// dx_k = w_k·g, and partials (branches, parts) of Σ g·x_k. Blocks beside each other take the same part of different
// branches, so that the gradient comes from the cache all times but one. Operand 0 is the gradient, 1 + k branch k, and
// 1 + kBranches + k its gradient.
template <class T, class Elements>
__global__ void __launch_bounds__(kMostThreads)
    mixed_sum_backward_kernel(const __grid_constant__ Elements elements, const T* __restrict__ grad,
                              const __grid_constant__ Branches<T, T> branches, const T* __restrict__ weights,
                              double* __restrict__ partials) {
  using C = compute_t<T>;
  constexpr int width = Elements::kWidth;
  const int k = static_cast<int>(blockIdx.x % branches.count);
  const int64_t part = blockIdx.x / branches.count, parts = gridDim.x / branches.count;
  const T* const from = branches.x[k];
  T* const to = branches.dx[k];
  const C weight = to_float(weights[branches.position[k]]);
  double product = 0.0;
  for (int64_t i = part * blockDim.x + threadIdx.x; width * i < elements.count; i += parts * blockDim.x) {
    const auto at = elements.at(i);
    const Some<T, width> g = elements.load(grad, 0, at), x = elements.load(from, 1 + k, at);
    Some<T, width> d;
    C sum = 0;  // past the end both are zero
    BF_UNROLL
    for (int j = 0; j < width; ++j) {
      const C g_j = to_float(g.x[j]);
      d.x[j] = from_float<T>(mixed_sum_d_branch<C>(g_j, weight));
      sum += mixed_sum_d_weight<C>(g_j, to_float(x.x[j]));
    }
    elements.store(to, 1 + kBranches + k, at, d);
    product += sum;
  }
  product = block_sum(product);
  if (threadIdx.x == 0) partials[k * parts + part] = product;
}

}  // namespace BF_ISA
}  // namespace base_fast
