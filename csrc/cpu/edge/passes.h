// The passes of a mixed edge in order, with what lies between them. `run(kernel)` calls a kernel for every group, on any
// threads.
#pragma once

#include <vector>

#include "edge_group.h"
#include "mixed_op.h"

namespace base_fast {

// y, and the norms' statistics.
template <class T, class Run>
void forward_passes(Fan<T>& fan, double* statistics, const Run& run) {
  const int first = fan.plan.first, stages = first + fan.plan.second;
  const auto settle = [&](int begin, int end) {
    for (int n = begin; n < end; ++n) {
      fan.merge_moments(n, statistics);
      if (fan.exists(n)) fan.set_norm(n, statistics);
    }
  };
  if (first > 0 || fan.has_terms()) run(BF_KERNEL(mixed_op_first<T>));
  settle(0, first);
  settle(stages, fan.plan.norms());
  if (stages > first) run(BF_KERNEL(mixed_op_second<T>));
  settle(first, stages);
  run(BF_KERNEL(mixed_op_sum<T>));
}

// dx and the groups' weight gradients; returns the gradient of each norm's weight in y.
template <class T, class Run>
std::vector<double> backward_passes(Fan<T>& fan, const double* statistics, const Run& run) {
  const int norms = fan.plan.norms();
  for (int n = 0; n < norms; ++n)
    if (fan.exists(n)) fan.set_norm(n, statistics);
  std::vector<double> of_norm(size_t(norms), 0.0);
  const auto settle = [&](bool terms) {
    for (int n = 0; n < norms; ++n) {
      if (fan.exists(n) && fan.is_term(n) == terms) of_norm[size_t(n)] = fan.set_norm_backward(n, statistics);
    }
  };
  if (fan.has_terms()) {
    run(BF_KERNEL(mixed_op_reduce<T>));
  } else {
    fan.clear_sums();
  }
  settle(true);
  fan.join_pools();
  if (fan.plan.second > 0) run(BF_KERNEL(mixed_op_second_backward<T>));
  settle(false);
  run(BF_KERNEL(mixed_op_first_backward<T>));
  return of_norm;
}

}  // namespace base_fast
