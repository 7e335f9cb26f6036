// The passes of a mixed edge. The reductions of batch norm separate them; each works on one group of images.
#pragma once

#include <cstdint>

#include "../isa/per_isa.h"
#include "plan.h"

namespace base_fast {
BF_FOR_EACH_ISA(

// Elements of scratch memory, 64-byte aligned, that any pass needs.
template <class T>
int64_t mixed_op_scratch(const Plan<T>& plan);

// Forward 1: the stages that read x, and the moments of what they and the pools give.
template <class T>
void mixed_op_first_stages(const Plan<T>& plan, int64_t group, const Workspace<T>& memory);
// Forward 2: the stages that continue them.
template <class T>
void mixed_op_second_stages(const Plan<T>& plan, int64_t group, const Workspace<T>& memory);
// Forward 3: y, from the stages' values and the pools computed again. `gain` holds z·rstd.
template <class T>
void mixed_op_weighted_sum(const Plan<T>& plan, int64_t group, const Workspace<T>& memory);

// Backward 1: Σ g and Σ g·(v − mean) of every norm that y sums, and zeros for all other sums; computes the values
// before, where they were not kept.
template <class T>
void mixed_op_projections(const Plan<T>& plan, int64_t group, const Workspace<T>& memory);
// Backward 2: through the second stages, to the normalized values of the first and their sums.
template <class T>
void mixed_op_second_stages_backward(const Plan<T>& plan, int64_t group, const Workspace<T>& memory);
// Backward 3: through the stages that read x, the pools and the identity, to dx; Σ g·x.
template <class T>
void mixed_op_first_stages_backward(const Plan<T>& plan, int64_t group, const Workspace<T>& memory);

)
}  // namespace base_fast
