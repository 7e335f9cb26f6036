// Rows [begin, end) of (rows, length) tensors.
#pragma once

#include <cstdint>

#include "../../core/types.h"
#include "../isa/per_isa.h"

namespace base_fast {
BF_FOR_EACH_ISA(

// Reads logits and writes z. `scratch`: a row, filled up to a multiple of 16 elements.
template <class T, class C>
void gumbel_softmax(const T* logits, T* z, int64_t begin, int64_t end, int64_t length, Key key, double tau, bool hard,
                    double noise, C* scratch);

// Reads z and its gradient; writes the gradient for the logits.
template <class T>
void gumbel_softmax_backward(const T* grad, const T* z, T* d_logits, int64_t begin, int64_t end, int64_t length,
                             double tau);

)
}  // namespace base_fast
