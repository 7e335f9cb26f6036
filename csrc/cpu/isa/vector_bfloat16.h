// bfloat16 in memory, float in registers: `load` and `store` for it.
#pragma once

#include "../../core/bfloat16.h"
#include "vector.h"

namespace base_fast {
namespace BF_ISA {
namespace simd {

typedef uint16_t Shorts __attribute__((vector_size(kBytes / 2)));
typedef uint16_t LooseShorts __attribute__((vector_size(kBytes / 2), aligned(2), may_alias));
typedef uint32_t Words __attribute__((vector_size(kBytes)));

BF_INLINE Vec<float> load(const bfloat16* p) {
  const Shorts shorts = *reinterpret_cast<const LooseShorts*>(p);
  return (Vec<float>)(__builtin_convertvector(shorts, Words) << 16);
}

// To nearest, ties to even; NaN stays NaN.
BF_INLINE void store(bfloat16* p, Vec<float> v) {
  const Words bits = (Words)v;
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words kept = v == v ? rounded : ((bits >> 16) | 0x40);
  *reinterpret_cast<LooseShorts*>(p) = __builtin_convertvector(kept, Shorts);
}

}  // namespace simd
}  // namespace BF_ISA
}  // namespace base_fast
