// Inputs and comparisons for tests. Vectors start at multiples of 64 bytes, as PyTorch's do.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include "../core/types.h"

namespace vectors {

template <class T>
struct Aligned {
  using value_type = T;
  Aligned() = default;
  template <class U>
  Aligned(const Aligned<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, std::align_val_t{64}); }
  bool operator==(const Aligned&) const { return true; }
  bool operator!=(const Aligned&) const { return false; }
};
template <class T>
using Vector = std::vector<T, Aligned<T>>;

inline double to_double(float x) { return x; }
inline double to_double(double x) { return x; }
inline double to_double(base_fast::bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

template <class T>
T of_double(double x) {
  return static_cast<T>(x);
}
template <>
inline base_fast::bfloat16 of_double(double x) {  // truncated: any value will do
  const float y = static_cast<float>(x);
  uint32_t bits;
  std::memcpy(&bits, &y, sizeof bits);
  return {static_cast<uint16_t>(bits >> 16)};
}

// scale·u + shift with u in (−1, 1) that looks random.
template <class T>
Vector<T> values(int64_t count, double scale, double shift) {
  Vector<T> x(static_cast<std::size_t>(count));
  uint64_t state = 88172645463325252u + static_cast<uint64_t>(count);
  for (T& one : x) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    one = of_double<T>(scale * (static_cast<double>(state >> 11) * 0x1p-52 - 1.0) + shift);
  }
  return x;
}

// What outputs start as: an element that is not written stays one.
template <class T>
Vector<T> nans(int64_t count) {
  return Vector<T>(static_cast<std::size_t>(count), of_double<T>(std::numeric_limits<double>::quiet_NaN()));
}

template <class T>
bool equal_bits(const Vector<T>& a, const Vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// The largest difference, relative to values above one; infinite where one is NaN and the other is not.
template <class T>
double error(const Vector<T>& a, const Vector<T>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = to_double(a[i]), y = to_double(b[i]);
    if (std::isnan(x) && std::isnan(y)) continue;
    const double difference = x == y ? 0.0 : std::fabs(x - y) / std::fmax(1.0, std::fabs(y));
    largest = std::fmax(largest, std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference);
  }
  return largest;
}

// The rounding of a stored result, and of float32 noise.
template <class T>
constexpr double kTolerance = sizeof(T) == 2 ? 0x1p-7 : 1e-6;

}  // namespace vectors
