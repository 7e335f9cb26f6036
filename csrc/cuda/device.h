// What kernel bodies need from CUDA: the compiler's own words under nvcc, stand-ins on the host.
//
// Bodies lie in <op>.h, launches (`<<<>>>`) in <op>.cu. On the host a test includes the body with host_device.h in
// place of the device: every thread of a block is a thread, so barriers and shared memory mean what they mean.
#pragma once

#include <type_traits>

#include "../core/types.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#define BF_ISA cuda
#define BF_UNROLL _Pragma("unroll")
#define BF_UNROLL_4 _Pragma("unroll 4")
#else
#include "host_device.h"
#endif

#include "../core/bfloat16.h"

namespace base_fast {
namespace BF_ISA {

// Threads that a block has at most: a power of two, as all its sizes are.
constexpr unsigned kMostThreads = 256;
// Enough blocks to fill the largest GPU several times over; kernels stride over the rest. The same on every GPU, and so
// are the partial results of sums.
constexpr int64_t kMaxBlocks = 132 * 16;

// Four neighbours, which are also one Philox block. Moved in 128-bit accesses (bfloat16: one of 64, double: two of
// 128).
template <class T>
struct alignas(sizeof(T) == 8 ? 16 : 4 * sizeof(T)) Four {
  T x[4];
};

template <class T>
struct One {
  T x[1];
};

// Four or one.
template <class T, int width>
using Some = std::conditional_t<width == 4, Four<T>, One<T>>;

// Whether x may be read and written in fours.
inline bool is_aligned(const void* x) { return reinterpret_cast<uintptr_t>(x) % 16 == 0; }

// Elements [4·quad, 4·quad + 4) of x, of which `count` exist; the others read as zero. `aligned`: x may be read in
// fours.
template <class T>
__device__ __forceinline__ Four<T> load4(const T* x, int64_t quad, int64_t count, bool aligned) {
  const int64_t first = 4 * quad;
  if (aligned && first + 4 <= count) return reinterpret_cast<const Four<T>*>(x)[quad];
  Four<T> y{};
  for (int j = 0; j < 4; ++j) {
    if (first + j < count) y.x[j] = x[first + j];
  }
  return y;
}

template <class T>
__device__ __forceinline__ void store4(T* x, int64_t quad, int64_t count, bool aligned, Four<T> y) {
  const int64_t first = 4 * quad;
  if (aligned && first + 4 <= count) {
    reinterpret_cast<Four<T>*>(x)[quad] = y;
    return;
  }
  for (int j = 0; j < 4; ++j) {
    if (first + j < count) x[first + j] = y.x[j];
  }
}

// This thread's index in the grid, and the grid's size: 64 bits wide, for more than 2³¹ elements.
__device__ __forceinline__ int64_t thread_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t thread_count() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// Read on the device: a key is data, so that CUDA graphs replay with new ones.
__device__ __forceinline__ Key load_key(const int64_t* key) { return {key[0], key[1]}; }

}  // namespace BF_ISA
}  // namespace base_fast
