// Runs passes over groups of images or pixels on PyTorch's threads.
#pragma once

#include <atomic>

#include "../memory/buffer.h"
#include "../memory/groups.h"
#include "threads.h"

namespace base_fast {

// Each pass goes through the groups in the opposite order of the one before, and each thread keeps to its own as long
// as there are some: what it touched last is still in its caches. Then it takes from the others. What a group gives
// does not depend on who takes it.
template <class Plan, class T>
class Runner {
 public:
  using Pass = void (*)(const Plan&, int64_t, const Workspace<T>&);

  // `scratch` gives the elements of memory that any pass needs.
  explicit Runner(int64_t (*scratch)(const Plan&), bool last_first = false)
      : scratch_(scratch), last_first_(last_first) {}

  void operator()(Pass pass, const Plan& plan) {
    struct Scratch;
    const int64_t size = scratch_(plan), groups = plan.groups;
    // One bit per group.
    static_assert(kMostGroups <= 64, "groups: more than there are bits");
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
  int64_t (*scratch_)(const Plan&);
  bool last_first_;
};

}  // namespace base_fast
