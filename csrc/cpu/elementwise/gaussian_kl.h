// Elements [begin, end) of flat vectors.
#pragma once

#include <cstdint>

#include "../isa/per_isa.h"
#include "gaussians.h"

namespace base_fast {
BF_FOR_EACH_ISA(

// The sum of their terms.
template <class T>
double gaussian_kl(Gaussians<T> q, int64_t begin, int64_t end);

template <class T>
void gaussian_kl_backward(double grad, Gaussians<T> q, GaussianGradients<T> d, int64_t begin, int64_t end);

)
}  // namespace base_fast
