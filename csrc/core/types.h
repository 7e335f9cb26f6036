// The plain types that all instruction sets and devices share.
#pragma once

#include <cstdint>

namespace base_fast {

// A stream of random words: see philox.h.
struct Key {
  int64_t seed;
  int64_t offset;
};

struct bfloat16 {
  uint16_t bits;
};

// What numbers stored as T are computed in: float for bfloat16 and float, double for double.
template <class T>
struct Compute {
  using type = T;
};
template <>
struct Compute<bfloat16> {
  using type = float;
};
template <class T>
using compute_t = typename Compute<T>::type;

}  // namespace base_fast
