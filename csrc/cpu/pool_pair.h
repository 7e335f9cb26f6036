// 3 × 3 maximum and average, forward and backward, for items [begin, end) of images × bands × blocks.
#include "pool_pair_plan.h"

namespace base_fast {
namespace BF_ISA {

template <class E, class T>
void pool_pair(const PoolPlan<E, T>& plan, int64_t begin, int64_t end, T* scratch);

template <class E, class T>
void pool_pair_backward(const PoolPlan<E, T>& plan, int64_t begin, int64_t end, T* scratch);

}  // namespace BF_ISA
}  // namespace base_fast
