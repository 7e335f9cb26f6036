// Rows of a block of channels between tensors of any strides and a kernel's own memory, [pixel][16] in the type that it
// computes in. After mixed_op.inl, whose vectors they use.
#pragma once

#include "image_rows.h"
#include "../core/bfloat16.h"
#include "mixed_op_plan.h"

namespace base_fast {
namespace BF_ISA {
namespace image_rows {

using namespace edge;

template <bool Relu, class V>
BF_INLINE V rectified(V v) {
  return Relu ? relu(v) : v;
}

// `count` pixels of `channels` ≤ 16 neighbouring channels; the missing ones of the 16 become zeros.
template <bool Relu, class E, class T>
void read_row(const E* from, const Image<const E>& strides, int64_t channels, int64_t count, T* to) {
  if (strides.channel == 1 && channels == kBlock) {
    for (int64_t j = 0; j < count; ++j, from += strides.pixel, to += kBlock) {
#pragma GCC unroll 8
      for (int part = 0; part < kBlock; part += kWidth<T>) store(to + part, rectified<Relu>(load(from + part)));
    }
    return;
  }
  if (channels < kBlock) std::memset(to, 0, size_t(count * kBlock) * sizeof(T));
  if (strides.channel == 1) {
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t c = 0; c < channels; ++c) to[j * kBlock + c] = to_float(from[j * strides.pixel + c]);
    }
  } else {
    for (int64_t c = 0; c < channels; ++c) {
      const E* plane = from + c * strides.channel;
      for (int64_t j = 0; j < count; ++j) to[j * kBlock + c] = to_float(plane[j * strides.pixel]);
    }
  }
  for (int64_t j = 0; Relu && j < count * kBlock; j += kWidth<T>) store(to + j, rectified<Relu>(load(to + j)));
}

template <class E, class T>
void write_row(const T* from, int64_t channels, int64_t count, E* to, const Image<E>& strides) {
  if (strides.channel == 1 && channels == kBlock) {
    for (int64_t j = 0; j < count; ++j, from += kBlock, to += strides.pixel) {
#pragma GCC unroll 8
      for (int part = 0; part < kBlock; part += kWidth<T>) store(to + part, load(from + part));
    }
  } else if (strides.channel == 1) {
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t c = 0; c < channels; ++c) to[j * strides.pixel + c] = from_float<E>(from[j * kBlock + c]);
    }
  } else {
    for (int64_t c = 0; c < channels; ++c) {
      E* plane = to + c * strides.channel;
      for (int64_t j = 0; j < count; ++j) plane[j * strides.pixel] = from_float<E>(from[j * kBlock + c]);
    }
  }
}

// Whether a kernel may write 16 channels of a pixel where they belong: no rounding, no turning.
template <class E, class T>
bool in_place(const Image<E>& image, int64_t channels) {
  return std::is_same<std::remove_const_t<E>, T>::value && image.channel == 1 && channels == kBlock;
}

}  // namespace image_rows
}  // namespace BF_ISA
}  // namespace base_fast
