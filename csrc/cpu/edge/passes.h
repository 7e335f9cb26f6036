// The passes of a mixed edge in order, with what lies between them. `run(kernel)` calls a kernel for every group, on
// any threads.
#pragma once

#include <vector>

#include "edge_group.h"
#include "mixed_op.h"

namespace base_fast {

// y, and the norms' statistics.
template <class T, class Run>
void forward_passes(EdgeGroup<T>& edges, double* statistics, const Run& run) {
  const int first = edges.plan.first, stages = first + edges.plan.second;
  const auto settle = [&](int begin, int end) {
    for (int n = begin; n < end; ++n) {
      edges.merge_moments(n, statistics);
      if (edges.exists(n)) edges.set_norm(n, statistics);
    }
  };
  if (first > 0 || edges.has_terms()) run(BF_KERNEL(mixed_op_first_stages<T>));
  settle(0, first);
  settle(stages, edges.plan.norms());
  if (stages > first) run(BF_KERNEL(mixed_op_second_stages<T>));
  settle(first, stages);
  run(BF_KERNEL(mixed_op_weighted_sum<T>));
}

// dx and the groups' weight gradients; returns the gradient of each norm's weight in y.
template <class T, class Run>
std::vector<double> backward_passes(EdgeGroup<T>& edges, const double* statistics, const Run& run) {
  const int norms = edges.plan.norms();
  for (int n = 0; n < norms; ++n)
    if (edges.exists(n)) edges.set_norm(n, statistics);
  std::vector<double> of_norm(size_t(norms), 0.0);
  const auto settle = [&](bool terms) {
    for (int n = 0; n < norms; ++n) {
      if (edges.exists(n) && edges.is_term(n) == terms) of_norm[size_t(n)] = edges.set_norm_backward(n, statistics);
    }
  };
  if (edges.has_terms()) {
    run(BF_KERNEL(mixed_op_projections<T>));
  } else {
    edges.clear_sums();
  }
  settle(true);
  edges.join_pools();
  if (edges.plan.second > 0) run(BF_KERNEL(mixed_op_second_stages_backward<T>));
  settle(false);
  run(BF_KERNEL(mixed_op_first_stages_backward<T>));
  return of_norm;
}

}  // namespace base_fast
