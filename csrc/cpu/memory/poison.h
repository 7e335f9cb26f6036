// Fresh memory that nobody survives reading, for tests: with `poison` on, what results and kernels' own memory hold
// before they are written is NaN. Whoever takes memory without clearing it calls `poison_fresh`.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstring>

namespace base_fast {

// Off unless a test asks.
inline std::atomic<bool> poisons{false};

// A byte that makes a NaN of every floating-point type, and −1 of every integer.
constexpr unsigned char kPoison = 0xFF;

inline void poison_fresh(void* data, size_t bytes) {
  if (poisons.load(std::memory_order_relaxed) && bytes > 0) std::memset(data, kPoison, bytes);
}

}  // namespace base_fast
