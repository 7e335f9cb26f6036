// Runs the passes of a mixed edge on PyTorch's threads. Include after declare.h.
#pragma once

#include <atomic>

#include "mixed_op_passes.h"
#include "tensor.h"

namespace base_fast {

template <class T>
using Pass = void (*)(const Plan<T>&, int64_t, T*);

// Threads take the groups one by one: what each gives does not depend on who takes it.
template <class T>
void run_pass(Pass<T> pass, const Plan<T>& plan) {
  struct Scratch;
  const int64_t size = BF_KERNEL(mixed_op_scratch<T>)(plan);
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, plan.groups, 1, [&](int64_t, int64_t) {
    T* scratch = thread_memory<Scratch, T>(size);
    for (int64_t group = next++; group < plan.groups; group = next++) pass(plan, group, scratch);
  });
}

}  // namespace base_fast
