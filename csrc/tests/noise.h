// Noise in double: the library's functions of the scalar Philox words.
#pragma once

#include <cmath>
#include <cstdint>

#include "../core/bfloat16.h"
#include "../core/philox.h"

namespace vectors {

inline double uniform_at(base_fast::Key key, int64_t i) {
  return base_fast::host::uniform(base_fast::host::words4(key, i / 4).x[i % 4]);
}

inline double gumbel_at(base_fast::Key key, int64_t i) { return -std::log(-std::log(uniform_at(key, i))); }

inline double normal_at(base_fast::Key key, int64_t i) {
  const int64_t even = i - i % 2;
  const double radius = std::sqrt(-2.0 * std::log(uniform_at(key, even)));
  const double angle = 6.283185307179586477 * uniform_at(key, even + 1);
  return radius * (i == even ? std::cos(angle) : std::sin(angle));
}

inline double softplus(double x) { return x > 40.0 ? x : std::log1p(std::exp(x)); }
inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

}  // namespace vectors
