// A thread sums four elements over the tasks, and moves the prior's towards their mean.
#pragma once

#include "device.h"

#include "../core/outer_step.h"

namespace base_fast {
namespace BF_ISA {

// Tasks of one launch at most.
constexpr int kTasks = 16;

template <class T>
struct Adapted {
  int count;
  const T* x[kTasks];
};

// A list of more than kTasks takes several launches, which pass on `sums`; `tasks` counts all.
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    outer_step_kernel(const T* __restrict__ prior, const __grid_constant__ Adapted<T> adapted, int64_t tasks,
                      double step_size, compute_t<T>* sums, bool first, bool last, T* __restrict__ after,
                      int64_t count, bool aligned) {
  using C = compute_t<T>;
  for (int64_t quad = thread_index(); 4 * quad < count; quad += thread_count()) {
    Four<C> sum{};
    if (!first) sum = load4(sums, quad, count, aligned);
    BF_UNROLL_4
    for (int c = 0; c < adapted.count; ++c) {
      const Four<T> x = load4(adapted.x[c], quad, count, aligned);
      BF_UNROLL
      for (int j = 0; j < 4; ++j) sum.x[j] += to_float(x.x[j]);
    }
    if (!last) {
      store4(sums, quad, count, aligned, sum);
      continue;
    }
    const Four<T> w = load4(prior, quad, count, aligned);
    Four<T> y;
    BF_UNROLL
    for (int j = 0; j < 4; ++j) {
      y.x[j] = from_float<T>(
          outer_step_prior<C>(to_float(w.x[j]), sum.x[j], static_cast<C>(tasks), static_cast<C>(step_size)));
    }
    store4(after, quad, count, aligned, y);
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
