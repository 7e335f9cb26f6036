// Rows of L elements that lie one after the other. Up to kLongest, a block brings a tile of whole rows into shared
// memory in fours, and one thread or some neighbours work on a row; a longer row has a block to itself.
#pragma once

#include "device.h"

namespace base_fast {
namespace BF_ISA {

constexpr unsigned kTile = 2048;
constexpr unsigned kLongest = 510;
static_assert(4 * (kLongest | 1) <= kTile, "four rows to a tile");

struct RowTiles {
  int64_t rows;
  unsigned entries;    // L
  unsigned pitch;      // from a row to the next in shared memory: odd, so that rows begin in different banks
  unsigned tile_rows;  // a multiple of four: every tile begins with a whole Philox block
  unsigned lanes;      // threads of a row, a power of two

  static RowTiles of(int64_t rows, int64_t entries, unsigned threads) {
    RowTiles tiles{rows, static_cast<unsigned>(entries), static_cast<unsigned>(entries) | 1u, 0, 1};
    tiles.tile_rows = 4 * (kTile / (4 * tiles.pitch));
    while (2 * tiles.lanes * tiles.tile_rows <= threads) tiles.lanes *= 2;
    return tiles;
  }

  __host__ __device__ int64_t count() const { return (rows + tile_rows - 1) / tile_rows; }
};

// f(quad, at) for this thread's quads of a tile, counted from the tensor's start; element 4·quad + j has its place
// at[j] in shared memory.
template <class F>
__device__ __forceinline__ void for_quads(const RowTiles& tiles, int64_t tile, const F& f) {
  const unsigned elements = tiles.tile_rows * tiles.entries;
  const int64_t first = tile * (elements / 4);
  for (unsigned quad = threadIdx.x; 4 * quad < elements; quad += blockDim.x) {
    unsigned row = 4 * quad / tiles.entries, column = 4 * quad % tiles.entries;
    unsigned at[4];
    BF_UNROLL
    for (int j = 0; j < 4; ++j) {
      at[j] = row * tiles.pitch + column;
      if (++column == tiles.entries) ++row, column = 0;
    }
    f(first + quad, at);
  }
}

struct Most {
  template <class C>
  __device__ __forceinline__ C operator()(C a, C b) const {
    return a > b ? a : b;
  }
};
struct Least {
  template <class C>
  __device__ __forceinline__ C operator()(C a, C b) const {
    return a < b ? a : b;
  }
};
struct Plus {
  template <class C>
  __device__ __forceinline__ C operator()(C a, C b) const {
    return a + b;
  }
};

// x of `lanes` neighbouring threads, a power of two, joined by `join`, in a fixed order. All threads of a block call
// it.
template <class C, class Join>
__device__ __forceinline__ C joined(C x, unsigned lanes, const Join& join) {
  if (lanes == 1) return x;
  __shared__ C room[kMostThreads];
  room[threadIdx.x] = x;
  const unsigned lane = threadIdx.x & (lanes - 1);
  for (unsigned half = lanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) room[threadIdx.x] = join(room[threadIdx.x], room[threadIdx.x + half]);
  }
  __syncthreads();
  const C all = room[threadIdx.x - lane];
  __syncthreads();
  return all;
}

}  // namespace BF_ISA
}  // namespace base_fast
