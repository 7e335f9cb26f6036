// Runs the passes of mixed edges on PyTorch's threads. Include after declare.h.
#pragma once

#include <atomic>

#include "buffer.h"
#include "mixed_op_passes.h"
#include "tensor.h"

namespace base_fast {

template <class T>
using Pass = void (*)(const Plan<T>&, int64_t, const Workspace<T>&);

// Each pass goes through the groups in the opposite order of the one before, and each thread keeps to its own as long
// as there are some: what it touched last is still in its caches. Then it takes from the others. What a group gives does
// not depend on who takes it.
template <class T>
class Runner {
 public:
  explicit Runner(bool last_first) : last_first_(last_first) {}

  void operator()(Pass<T> pass, const Plan<T>& plan) {
    struct Scratch;
    const int64_t size = BF_KERNEL(mixed_op_scratch<T>)(plan), groups = plan.groups;
    std::atomic<uint64_t> taken{0};
    torch::stable::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
      Workspace<T> work{thread_memory<Scratch, T>(size), true, -1};
      for (int64_t i = 0; i < groups; ++i) {
        // Its own, [begin, end), then those that follow.
        const int64_t own = end - begin, nth = last_first_ && i < own ? own - 1 - i : i;
        const int64_t group = (begin + nth) % groups;
        const uint64_t bit = uint64_t{1} << group;
        if (taken.load(std::memory_order_relaxed) & bit || taken.fetch_or(bit) & bit) continue;
        const bool more = nth < own && nth != (last_first_ ? 0 : own - 1);
        work.next_group = more ? group + (last_first_ ? -1 : 1) : -1;
        pass(plan, group, work);
        work.fresh = false;
      }
    });
    last_first_ = !last_first_;
  }

 private:
  bool last_first_;
};

}  // namespace base_fast
