// The passes of mixed edges.
#pragma once

#include "input_gradient.h"
#include "mixed_op.h"
#include "stages.h"
#include "stages_backward.h"
#include "weighted_sum.h"

namespace base_fast {
namespace BF_ISA {

#define BF_INSTANTIATE(T)                                                  \
  template int64_t mixed_op_scratch(const Plan<T>&);                       \
  template void mixed_op_first(const Plan<T>&, int64_t, const Workspace<T>&);               \
  template void mixed_op_second(const Plan<T>&, int64_t, const Workspace<T>&);              \
  template void mixed_op_sum(const Plan<T>&, int64_t, const Workspace<T>&);                 \
  template void mixed_op_reduce(const Plan<T>&, int64_t, const Workspace<T>&);              \
  template void mixed_op_second_backward(const Plan<T>&, int64_t, const Workspace<T>&);     \
  template void mixed_op_first_backward(const Plan<T>&, int64_t, const Workspace<T>&);
BF_INSTANTIATE(float)
BF_INSTANTIATE(double)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
