// From storage types to those that they are computed in, and back.
#pragma once

#include <cstdint>
#include <cstring>

#include "macros.h"
#include "types.h"

namespace base_fast {
namespace BF_ISA {

// What is stored, in its compute type (double for double): exact.
BF_HD float to_float(float x) { return x; }
BF_HD double to_float(double x) { return x; }
BF_HD float to_float(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  memcpy(&y, &bits, sizeof y);
  return y;
}

// A computed value rounded to T, to nearest and ties to even; NaN stays NaN.
template <class T>
BF_HD T from_float(compute_t<T> x) {
  return x;
}
template <>
BF_HD bfloat16 from_float<bfloat16>(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40u;
  return {static_cast<uint16_t>(x != x ? quiet : rounded)};
}

}  // namespace BF_ISA
}  // namespace base_fast
