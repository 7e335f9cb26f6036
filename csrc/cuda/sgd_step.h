// Several vectors at once: every block takes a part of one of them. With clipping the gradients are read twice, since
// the step waits for their norm; without, one pass does both.
#pragma once

#include "device.h"
#include "reduce.h"

#include "../core/math.h"
#include "../core/sgd_step.h"

namespace base_fast {
namespace BF_ISA {

// Vectors of one launch at most.
constexpr int kVectors = 16;

template <class T>
struct SgdVector {
  const T* x;
  const T* gradient;
  T* after;
  double lr;
  int64_t count;
  unsigned first_block, blocks;
  bool aligned;
};

template <class T>
struct SgdVectors {
  int count;
  SgdVector<T> at[kVectors];
};

// after = x − lr·s·g if `updates`; partials[block] = Σ g² if `squares`. Only a launch that does not square clips: by
// *norm.
template <class T, bool squares, bool updates>
__global__ void __launch_bounds__(kMostThreads)
    sgd_step_kernel(const __grid_constant__ SgdVectors<T> vectors, double clip, const double* __restrict__ norm,
                    double* __restrict__ partials) {
  using C = compute_t<T>;
  int i = 0;
  while (i + 1 < vectors.count && blockIdx.x >= vectors.at[i + 1].first_block) ++i;
  const SgdVector<T>& v = vectors.at[i];
  const C rate = static_cast<C>(v.lr * (squares ? 1.0 : sgd_scale(clip, *norm)));
  const int64_t step = static_cast<int64_t>(v.blocks) * blockDim.x;
  double sum = 0.0;
  for (int64_t quad = static_cast<int64_t>(blockIdx.x - v.first_block) * blockDim.x + threadIdx.x; 4 * quad < v.count;
       quad += step) {
    const Four<T> g = load4(v.gradient, quad, v.count, v.aligned);
    if (squares) {
      BF_UNROLL
      for (int j = 0; j < 4; ++j) {
        const double g_j = to_float(g.x[j]);  // squares of large floats overflow
        sum += g_j * g_j;
      }
    }
    if (updates) {
      const Four<T> x = load4(v.x, quad, v.count, v.aligned);
      Four<T> y;
      BF_UNROLL
      for (int j = 0; j < 4; ++j) y.x[j] = from_float<T>(sgd_variable<C>(to_float(x.x[j]), rate, to_float(g.x[j])));
      store4(v.after, quad, v.count, v.aligned, y);
    }
  }
  if (squares) {
    sum = block_sum(sum);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
  }
}

// One block: *norm = √Σ partials.
__global__ void __launch_bounds__(kMostThreads)
    sgd_norm_kernel(const double* __restrict__ partials, int64_t count, double* __restrict__ norm) {
  const double square = total(partials, count);
  if (threadIdx.x == 0) *norm = sqrt_(square);
}

}  // namespace BF_ISA
}  // namespace base_fast
