#include "isa.h"
#include "mixed_op.h"
#include "mixed_op_vector.inl"
#include "mixed_op_storage.inl"
#include "ahead.inl"
#include "mixed_op_depthwise.inl"
#include "mixed_op_pointwise.inl"
#include "mixed_op_tiles.inl"
#include "mixed_op_images.inl"
#include "mixed_op_pools.inl"
#include "mixed_op_stages.inl"
#include "mixed_op_sum.inl"
#include "mixed_op_backward.inl"
#include "mixed_op_finish.inl"

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
