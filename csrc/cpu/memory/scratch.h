// Pieces of a thread's memory during a pass.
#pragma once

#include "../../core/macros.h"
#include "../blocked/layout.h"
#include "../isa/standard.h"
#include "groups.h"

namespace base_fast {
namespace BF_ISA {

// Hands out pieces of one scratch memory, a few cache lines apart: images are multiples of a page, and pieces at the
// same place in their pages would compete for the same sets of the cache.
//
// What a pass takes is one walk over an allocator. A dry run of the same walk, over no memory at all, counts what it
// needs: `scratch_of`.
template <class T>
class Scratch {
 public:
  static constexpr int64_t kStagger = 5 * 64 / int64_t(sizeof(T));

  explicit Scratch(const Workspace<T>& work) : memory_(work.memory), fresh_(work.memory != nullptr && work.fresh) {}

  // `count` elements from a multiple of 16 on; null in a dry run.
  T* take(int64_t count) {
    T* piece = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (count + kBlock - 1) / kBlock * kBlock + kStagger;
    return piece;
  }
  // Whether nobody has written to the pieces: what stays the same during a pass is written now.
  bool fresh() const { return fresh_; }
  int64_t used() const { return used_; }

 private:
  T* memory_;
  bool fresh_;
  int64_t used_ = 0;
};

// The elements that Pieces, what a pass takes, needs of a plan.
template <class Pieces, class T, class Plan>
int64_t scratch_of(const Plan& plan) {
  Scratch<T> dry{Workspace<T>{nullptr, false, -1}};
  const Pieces pieces(plan, dry);
  return dry.used();
}

}  // namespace BF_ISA
}  // namespace base_fast
