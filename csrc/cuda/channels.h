// (B, C, H, W) tensors of any strides, channel by channel.
#pragma once

#include "device.h"
#include "walk.h"

namespace base_fast {
namespace BF_ISA {

// Runs that a thread adds in the type of computation before it goes on in double, and whose loads are under way at
// once.
constexpr int kRuns = 4;

// What the lanes of an access are: four pixels of a channel, four channels of a pixel, or nothing but one element.
enum class Lanes { pixels, channels, none };

// A block takes `across` neighbouring groups of channels (four of them, or one) and one of `slices` of the pixels:
// every thread keeps to a group, and takes a run of pixels (four neighbours, or one) after the other. The branches of a
// launch are taken by blocks beside each other, where a kernel takes one at a time: what they share is then read from
// memory once.
struct ChannelWalk {
  int64_t channels;
  int64_t groups;
  int64_t pixels;  // in runs
  unsigned slices;
  unsigned across;               // a power of two, at most that of a block's threads
  int64_t group[kOperands];    // strides from a group to the next
  int64_t channel[kOperands];  // and from a channel to the next
  Walk<3> walk;                // over the runs of pixels
};

// The part of a walk that a thread takes.
struct Part {
  int k;  // the branch
  int64_t slice;
  int64_t group;  // may be past the end: the thread then has nothing to do but to take part in sums
  int64_t first, step;
};

// `branches`: that many blocks beside each other take the same part.
__device__ __forceinline__ Part part_of(const ChannelWalk& channels, unsigned branches) {
  const unsigned block = blockIdx.x / branches, slice = block % channels.slices, tile = block / channels.slices;
  const unsigned rows = blockDim.x / channels.across, row = threadIdx.x / channels.across;
  return {static_cast<int>(blockIdx.x % branches), slice,
          static_cast<int64_t>(tile) * channels.across + (threadIdx.x & (channels.across - 1)),
          static_cast<int64_t>(slice) * rows + row, static_cast<int64_t>(channels.slices) * rows};
}

// How to access elements. `width` of them are moved at once; they belong to `kChannels` channels.
template <Lanes lanes>
struct Access {
  static constexpr int kWidth = lanes == Lanes::none ? 1 : 4;
  static constexpr int kChannels = lanes == Lanes::channels ? 4 : 1;

  // Which of a group's channels lane j belongs to.
  __device__ __forceinline__ static constexpr int channel(int j) { return kChannels == 1 ? 0 : j; }

  template <class T>
  __device__ __forceinline__ static Some<T, kWidth> load(const T* x) {
    return *reinterpret_cast<const Some<T, kWidth>*>(x);
  }
  template <class T>
  __device__ __forceinline__ static void store(T* x, Some<T, kWidth> y) {
    *reinterpret_cast<Some<T, kWidth>*>(x) = y;
  }

  // The values of a group's channels in a row of C: those of lane j are `x[channel(j)]`.
  template <class T>
  struct PerChannel {
    T x[kChannels];
  };
  template <class T>
  __device__ __forceinline__ static PerChannel<T> per_channel(const T* row, int64_t group) {
    PerChannel<T> y;
    BF_UNROLL
    for (int j = 0; j < kChannels; ++j) y.x[j] = row[group * kChannels + j];
    return y;
  }
};

}  // namespace BF_ISA
}  // namespace base_fast
