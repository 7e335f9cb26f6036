// The passes of relu_conv_norm. The reductions of batch norm separate them; each works on one group of pixels.
#pragma once

#include <cstdint>

#include "../isa/per_isa.h"
#include "relu_conv_norm_plan.h"

namespace base_fast {
BF_FOR_EACH_ISA(

// Elements of scratch memory, 64-byte aligned, that any pass needs.
template <class S>
int64_t relu_conv_norm_scratch(const ConvPlan<S>& plan);

// Forward 1: v = W·relu(x), its means and Σ(v − mean)².
template <class S>
void relu_conv_norm_convolve(const ConvPlan<S>& plan, int64_t group, const Workspace<compute_t<S>>& memory);
// Forward 2: y, the normalized v.
template <class S>
void relu_conv_norm_normalize(const ConvPlan<S>& plan, int64_t group, const Workspace<compute_t<S>>& memory);

// Backward 1: Σ dy and Σ dy·y.
template <class S>
void relu_conv_norm_reduce(const ConvPlan<S>& plan, int64_t group, const Workspace<compute_t<S>>& memory);
// Backward 2: dx, and the group's share of dW.
template <class S>
void relu_conv_norm_gradients(const ConvPlan<S>& plan, int64_t group, const Workspace<compute_t<S>>& memory);

)
}  // namespace base_fast
