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

}  // namespace base_fast
