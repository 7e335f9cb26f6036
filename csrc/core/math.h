// Elementary functions without branches or library calls, so that loops over them vectorize. In float they are minimax
// polynomials; in double, the library's functions. Errors are in units of the last place (ulp) of the exact result,
// fused and, in brackets, unfused (see BF_FMA), as tests/core/test_math.py bounds them.
//
// Include it as "../core/math.h": with this folder on the include path it would hide the system's <math.h>.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "macros.h"

namespace base_fast {
namespace BF_ISA {

BF_HD uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

BF_HD float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// Correctly rounded.
BF_HD float sqrt_(float x) { return sqrtf(x); }
BF_HD double sqrt_(double x) { return sqrt(x); }

// log x of a positive, finite, normal x; any other x gives a meaningless number. 0.92 [1.05] ulp.
BF_HD float log_positive(float x) {
  // x = m·2^e with m in [2/3, 4/3): near 1, where log x is small, e is 0 and f = m − 1 is exact.
  const int32_t above = static_cast<int32_t>(bits_of(x) - 0x3f2aaaabu);
  const float e = static_cast<float>(above >> 23);
  const float f = float_of(bits_of(x) - (static_cast<uint32_t>(above) & 0xff800000u)) - 1.0f;
  // log(1 + f) = f − f²/2 + f³·(…), by even and odd powers: two short chains instead of a long one.
  const float s = f * f;
  float even = 0.139963686f, odd = -0.129440963f;
  even = BF_FMA(even, s, 0.140044346f);
  odd = BF_FMA(odd, s, -0.121720865f);
  even = BF_FMA(even, s, 0.200104773f);
  odd = BF_FMA(odd, s, -0.166812077f);
  even = BF_FMA(even, s, 0.333332151f);
  odd = BF_FMA(odd, s, -0.249997839f);
  const float p = BF_FMA(BF_FMA(odd, f, even), f, -0.5f);
  return BF_FMA(e, 0.693147181f, BF_FMA(p, s, f));
}
BF_HD double log_positive(double x) { return log(x); }

// log x as the library defines it: −inf at 0, inf at inf, NaN of NaN or below 0. 0.92 [1.22] ulp.
BF_HD float log_(float x) {
  const bool subnormal = x < 1.17549435e-38f;
  const float y = log_positive(subnormal ? x * 8388608.0f : x) - (subnormal ? 15.9423852f : 0.0f);
  const float edge = x == 0.0f ? float_of(0xff800000u) : (x < 0.0f ? float_of(0x7fc00000u) : x);
  return (x > 0.0f) & (x < float_of(0x7f800000u)) ? y : edge;
}
BF_HD double log_(double x) { return log(x); }

// exp x = fraction·2^exponent, the fraction within a factor √2 of 1.
struct Exponential {
  float fraction;
  int32_t exponent;
};

BF_HD Exponential exp_parts(float x) {
  // Adding 1.5·2²³ rounds to an integer, which then lies in the low bits.
  const float shifted = BF_FMA(x, 1.44269504f, 12582912.0f);
  const float n = shifted - 12582912.0f;
  // log 2 in two parts: the first has few bits, so that n times it is exact.
  const float r = BF_FMA(n, -1.42860677e-6f, BF_FMA(n, -0.693145752f, x));
  const float s = r * r;
  float p = 0.00138389017f;
  p = BF_FMA(p, r, 0.00836919248f);
  p = BF_FMA(p, r, 0.0416681021f);
  p = BF_FMA(p, r, 0.166665167f);
  p = BF_FMA(p, r, 0.49999994f);
  return {BF_FMA(p, s, r) + 1.0f, static_cast<int32_t>(bits_of(shifted) - 0x4b400000u)};
}

BF_HD float power_of_two(int32_t exponent) { return float_of(static_cast<uint32_t>(exponent + 127) << 23); }

// exp x as the library defines it, subnormal results and overflow included. 1.0 ulp.
BF_HD float exp_(float x) {
  const float low = x < -104.0f ? -104.0f : x;
  const Exponential y = exp_parts(low > 89.0f ? 89.0f : low);
  const int32_t half = y.exponent >> 1;
  return y.fraction * power_of_two(half) * power_of_two(y.exponent - half);
}
BF_HD double exp_(double x) { return exp(x); }

// exp x of x ≤ 0, NaN or −inf, in fewer steps: what lies below 2^−126.5 is 0. 1.0 ulp.
BF_HD float exp_negative(float x) {
  const Exponential y = exp_parts(x < -88.0f ? -88.0f : x);
  return y.fraction * power_of_two(y.exponent);
}
BF_HD double exp_negative(double x) { return exp(x); }

// log(1 + y) of y in [0, 1] or NaN. 0.98 [1.26] ulp.
BF_HD float log1p_unit(float y) {
  // y + y·(…), the polynomial in t = y − ½, where its terms are small and so are their rounding errors.
  const float t = y - 0.5f, s = t * t;
  float even = 0.00525334803f, odd = -0.00324401911f;
  even = BF_FMA(even, s, 0.0115761515f);
  odd = BF_FMA(odd, s, -0.00674991496f);
  even = BF_FMA(even, s, 0.0366354659f);
  odd = BF_FMA(odd, s, -0.0205702949f);
  even = BF_FMA(even, s, 0.132608995f);
  odd = BF_FMA(odd, s, -0.0676877126f);
  even = BF_FMA(even, s, -0.189069778f);
  odd = BF_FMA(odd, s, -0.288527101f);
  return BF_FMA(BF_FMA(odd, t, even), y, y);
}
BF_HD double log1p_unit(double y) { return log1p(y); }

// log(1 + exp x) as max(x, 0) + log(1 + exp(−|x|)), which loses nothing at either end: as PyTorch's, x itself above 20;
// NaN of NaN, inf of inf, 0 of −inf. Next to `sigmoid` of the same x it shares the exponential. 1.7 [2.0] ulp
// down to x = −87.7, below which it is 0.
BF_HD float softplus(float x) { return (x > 0.0f ? x : 0.0f) + log1p_unit(exp_negative(-fabsf(x))); }
BF_HD double softplus(double x) { return x > 20.0 ? x : log1p(exp(x)); }

// 1/(1 + exp(−x)), the derivative of softplus; NaN of NaN. 2.3 ulp.
BF_HD float sigmoid(float x) {
  const float y = exp_negative(-fabsf(x));
  return (x > 0.0f ? 1.0f : y) / (1.0f + y);
}
BF_HD double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// sin(πg/2) of g in [−1, 1].
BF_HD float sin_quarter_turns(float g) {
  const float s = g * g;
  float p = 0.000151485132f;
  p = BF_FMA(p, s, -0.00467376551f);
  p = BF_FMA(p, s, 0.0796896964f);
  p = BF_FMA(p, s, -0.645963728f);
  p = BF_FMA(p, s, 0.570796311f);
  return BF_FMA(p, g, g);
}

struct CosSin {
  float cos;
  float sin;
};

// cos(2πu) and sin(2πu) of u in (0, 1). 1.4 [1.9] ulp.
BF_HD CosSin cos_sin_turn(float u) {
  // 4u = 2n + g with g in [−1, 1], exactly: adding 1.5·2²⁴ rounds to an even number, and leaves n in the low bits. The
  // n half turns change the signs of both if n is odd.
  const float shifted = BF_FMA(4.0f, u, 25165824.0f);
  const float g = BF_FMA(4.0f, u, 25165824.0f - shifted);
  const uint32_t sign = bits_of(shifted) << 31;
  const float c = sin_quarter_turns(1.0f - fabsf(g)), s = sin_quarter_turns(g);
  return {float_of(bits_of(c) ^ sign), float_of(bits_of(s) ^ sign)};
}

}  // namespace BF_ISA
}  // namespace base_fast
