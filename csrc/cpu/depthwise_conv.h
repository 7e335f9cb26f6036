// Depthwise convolution with the ReLU before it, forward and backward.
#include "depthwise_conv_plan.h"

namespace base_fast {
namespace BF_ISA {

// y for items [begin, end) of images × bands × blocks.
template <class E, class T>
void depthwise_conv(const DepthwisePlan<E, T>& plan, int64_t begin, int64_t end, T* scratch);

// dx, and the weight's gradients of the groups, for items [begin, end) of groups × blocks.
template <class E, class T>
void depthwise_conv_backward(const DepthwisePlan<E, T>& plan, int64_t begin, int64_t end, T* scratch);

}  // namespace BF_ISA
}  // namespace base_fast
