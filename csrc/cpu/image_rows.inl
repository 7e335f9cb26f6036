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

BF_INLINE Vec<float> loaded(const float* p) { return load(p); }
BF_INLINE Vec<double> loaded(const double* p) { return load(p); }
BF_INLINE void stored(float* p, Vec<float> v) { store(p, v); }
BF_INLINE void stored(double* p, Vec<double> v) { store(p, v); }

typedef uint16_t Halves __attribute__((vector_size(kBytes / 2)));
typedef uint16_t LooseHalves __attribute__((vector_size(kBytes / 2), aligned(2), may_alias));
typedef uint32_t Words __attribute__((vector_size(kBytes)));

BF_INLINE Vec<float> loaded(const bfloat16* p) {
  const Halves halves = *reinterpret_cast<const LooseHalves*>(p);
  return (Vec<float>)(__builtin_convertvector(halves, Words) << 16);
}
// To nearest and ties to even; NaN stays NaN.
BF_INLINE void stored(bfloat16* p, Vec<float> v) {
  const Words bits = (Words)v;
  const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Words kept = v != v ? (bits >> 16) | 0x40u : rounded;
  *reinterpret_cast<LooseHalves*>(p) = __builtin_convertvector(kept, Halves);
}

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
      for (int part = 0; part < kBlock; part += kWidth<T>) store(to + part, rectified<Relu>(loaded(from + part)));
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
      for (int part = 0; part < kBlock; part += kWidth<T>) stored(to + part, load(from + part));
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
