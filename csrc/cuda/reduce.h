// Sums in double in a fixed order: of a block's threads, then of the blocks' partial results by a second kernel.
#pragma once

#include "device.h"

namespace base_fast {
namespace BF_ISA {

// Σ of x over the threads of a block whose indices agree modulo `across`, a power of two. All threads call it, and each
// gets the sum that it is part of.
__device__ __forceinline__ double block_sum(double x, unsigned across = 1) {
  __shared__ double room[kMostThreads];
  room[threadIdx.x] = x;
  for (unsigned half = blockDim.x / 2; half >= across; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) room[threadIdx.x] += room[threadIdx.x + half];
  }
  __syncthreads();
  const double sum = room[threadIdx.x & (across - 1)];
  __syncthreads();
  return sum;
}

// Σ of `count` partial results by one block.
__device__ __forceinline__ double total(const double* partials, int64_t count) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += partials[i];
  return block_sum(sum);
}

// One block: *y = Σ partials.
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    total_kernel(const double* __restrict__ partials, int64_t count, T* __restrict__ y) {
  const double sum = total(partials, count);
  if (threadIdx.x == 0) *y = from_float<T>(static_cast<compute_t<T>>(sum));
}

}  // namespace BF_ISA
}  // namespace base_fast
