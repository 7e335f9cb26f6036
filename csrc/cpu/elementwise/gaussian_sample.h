// Elements [begin, end) of flat vectors.
#pragma once

#include <cstdint>

#include "../../core/types.h"
#include "../isa/per_isa.h"

namespace base_fast {
BF_FOR_EACH_ISA(

// Reads μ and ρ, writes θ.
template <class T>
void gaussian_sample(const T* mu, const T* rho, T* theta, int64_t begin, int64_t end, Key key);

// Reads the gradient for θ and ρ, writes the gradient for ρ.
template <class T>
void gaussian_sample_backward(const T* grad, const T* rho, T* d_rho, int64_t begin, int64_t end, Key key);

)
}  // namespace base_fast
