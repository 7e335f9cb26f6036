// Prefetching.
#pragma once

#include "../isa/vector.h"

namespace base_fast {
namespace BF_ISA {
namespace blocked {

using namespace simd;

// Memory that is needed soon, asked for a few cache lines at a time by the arithmetic that comes before. Measured per
// line of 30 GB/s memory: 3 ns if nobody asks, or asks for a hundred at once, as the processor then waits for them;
// 1.4 ns by eights.
class Prefetcher {
 public:
  // `count` pixels, `step` elements apart.
  template <class S>
  BF_INLINE void add(const S* from, int64_t count, int64_t step, int64_t channels) {
    if (count <= 0 || size_ == kMost) return;
    if (step == channels) channels *= count, count = 1;
    const int64_t lines = (channels * int64_t(sizeof(S)) + 63) / 64;
    entries_[size_++] = {reinterpret_cast<const char*>(from), step * int64_t(sizeof(S)), count, lines};
    left_ += count * lines;
  }
  // What is left, over so many calls of what follows.
  void spread(int64_t calls) { at_once_ = calls < 1 ? left_ : (left_ + calls - 1) / calls; }
  BF_INLINE void operator()() {
    for (int64_t i = std::min(at_once_, left_); i > 0; --i, --left_) {
      Entry& entry = entries_[next_];
      __builtin_prefetch(entry.at + 64 * line_, 0, 2);
      if (++line_ < entry.lines) continue;
      line_ = 0, entry.at += entry.step;
      if (--entry.count == 0) ++next_;
    }
  }

 private:
  static constexpr int64_t kMost = 384;
  struct Entry {
    const char* at;
    int64_t step, count, lines;
  };
  Entry entries_[kMost];
  int64_t size_ = 0, next_ = 0, line_ = 0, left_ = 0, at_once_ = 0;
};

// For arithmetic that nothing follows.
struct NoPrefetch {
  BF_INLINE void operator()() const {}
};

}  // namespace blocked
}  // namespace BF_ISA
}  // namespace base_fast
