// Elements [begin, end) of flat vectors.
#pragma once

#include <cstdint>

#include "../../core/types.h"
#include "../isa/per_isa.h"
#include "gaussians.h"

namespace base_fast {
BF_FOR_EACH_ISA(

// Writes θ, and returns the sum of the divergence's terms.
template <class T>
double gaussian_sample_kl(Gaussians<T> q, T* theta, int64_t begin, int64_t end, Key key);

template <class T>
void gaussian_sample_kl_backward(const T* grad_theta, double grad_kl, Gaussians<T> q, GaussianGradients<T> d,
                                 int64_t begin, int64_t end, Key key);

)
}  // namespace base_fast
