// Vectors of the instruction set's own width, by the compiler's extension; one source for all sets.
#pragma once

#include <cstdint>
#include <cstring>

#include "../../core/macros.h"
#include "standard.h"

namespace base_fast {
namespace BF_ISA {
namespace simd {

#define BF_INLINE inline __attribute__((always_inline))

constexpr int kBytes = BF_VECTOR_BYTES;
constexpr int kRegisters = kBytes == 64 ? 32 : 16;

// `Vec` computes, `Loose` reads and writes memory of any alignment, `Ints` are the masks of comparisons.
template <class T>
struct Vector;
template <>
struct Vector<float> {
  typedef float Vec __attribute__((vector_size(kBytes)));
  typedef float Loose __attribute__((vector_size(kBytes), aligned(4), may_alias));
  typedef int32_t Ints __attribute__((vector_size(kBytes)));
  typedef int32_t LooseInts __attribute__((vector_size(kBytes), aligned(4), may_alias));
};
template <>
struct Vector<double> {
  typedef double Vec __attribute__((vector_size(kBytes)));
  typedef double Loose __attribute__((vector_size(kBytes), aligned(8), may_alias));
  typedef int64_t Ints __attribute__((vector_size(kBytes)));
  typedef int64_t LooseInts __attribute__((vector_size(kBytes), aligned(8), may_alias));
};
template <class T>
using Vec = typename Vector<T>::Vec;
template <class T>
using Ints = typename Vector<T>::Ints;

template <class T>
constexpr int kWidth = kBytes / int(sizeof(T));
template <class T>
BF_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename Vector<T>::Loose*>(p);
}
template <class T>
BF_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename Vector<T>::Loose*>(p) = v;
}
template <class T>
BF_INLINE Vec<T> all(T x) {
  return x - Vec<T>{};
}

// v, in a register: the compiler would rather load a value again for each use, and loads are what kernels wait for.
template <class V>
BF_INLINE V held(V v) {
#if BF_VECTOR_BYTES > 16
  asm("" : "+v"(v));
#endif
  return v;
}

// The one operation that the vector extension cannot name without leave to fuse elsewhere too.
BF_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if BF_VECTOR_BYTES == 64
  return _mm512_fmadd_ps(a, b, c);
#elif BF_VECTOR_BYTES == 32
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}
BF_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if BF_VECTOR_BYTES == 64
  return _mm512_fmadd_pd(a, b, c);
#elif BF_VECTOR_BYTES == 32
  return _mm256_fmadd_pd(a, b, c);
#else
  return a * b + c;
#endif
}

// max(v, 0), and NaN for NaN.
template <class V>
BF_INLINE V relu(V v) {
  return V{} > v ? V{} : v;
}
// Whether a comparison held anywhere.
template <class I>
BF_INLINE bool any(I mask) {
#if BF_VECTOR_BYTES == 64
  return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0;
#else
  bool found = false;
  for (size_t i = 0; i < sizeof(I) / sizeof(mask[0]); ++i) found |= mask[i] != 0;
  return found;
#endif
}

// Denormal numbers count as zero while this lives: gradients fade into them, and each costs a hundred cycles.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};

}  // namespace simd
}  // namespace BF_ISA
}  // namespace base_fast
