// The passes of mixed edges.
#pragma once

#include "input_gradient.h"
#include "mixed_op.h"
#include "projections.h"
#include "stages.h"
#include "stages_backward.h"
#include "weighted_sum.h"

namespace base_fast {
namespace BF_ISA {

// The walks of all passes, dry: any may be the largest.
template <class T>
int64_t mixed_op_scratch(const Plan<T>& plan) {
  using namespace edge;
  const int64_t sizes[] = {
      scratch_of<FirstStagesScratch<T>, T>(plan),          scratch_of<SecondStagesScratch<T>, T>(plan),
      scratch_of<WeightedSumScratch<T>, T>(plan),          scratch_of<ProjectionsScratch<T>, T>(plan),
      scratch_of<SecondStagesBackwardScratch<T>, T>(plan), scratch_of<FirstStagesBackwardScratch<T>, T>(plan),
  };
  int64_t most = 0;
  for (int64_t size : sizes) most = size > most ? size : most;
  return most;
}

#define BF_INSTANTIATE(T)                                                                      \
  template int64_t mixed_op_scratch(const Plan<T>&);                                           \
  template void mixed_op_first_stages(const Plan<T>&, int64_t, const Workspace<T>&);           \
  template void mixed_op_second_stages(const Plan<T>&, int64_t, const Workspace<T>&);          \
  template void mixed_op_weighted_sum(const Plan<T>&, int64_t, const Workspace<T>&);           \
  template void mixed_op_projections(const Plan<T>&, int64_t, const Workspace<T>&);            \
  template void mixed_op_second_stages_backward(const Plan<T>&, int64_t, const Workspace<T>&); \
  template void mixed_op_first_stages_backward(const Plan<T>&, int64_t, const Workspace<T>&);
BF_INSTANTIATE(float)
BF_INSTANTIATE(double)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
