// Pieces of a thread's memory during a pass.
#pragma once

#include "../isa/standard.h"
#include "../../core/macros.h"
#include "../blocked/layout.h"
#include "groups.h"

namespace base_fast {
namespace BF_ISA {

// Hands out pieces of one scratch memory, a few cache lines apart: images are multiples of a page, and pieces at the
// same place in their pages would compete for the same sets of the cache.
template <class T>
struct Scratch {
  static constexpr int64_t kStagger = 5 * 64 / int64_t(sizeof(T));
  T* next;
  bool fresh = true;
  explicit Scratch(T* memory) : next(memory) {}
  explicit Scratch(const Workspace<T>& work) : next(work.memory), fresh(work.fresh) {}
  T* take(int64_t count) {
    T* piece = next;
    next += (count + kBlock - 1) / kBlock * kBlock + kStagger;
    return piece;
  }
  // Zeros, which the caller leaves as they are.
  T* zeros(int64_t count) {
    T* piece = take(count);
    if (fresh) std::memset(piece, 0, size_t(count) * sizeof(T));
    return piece;
  }
};

}  // namespace BF_ISA
}  // namespace base_fast
