// One element of z = softmax((φ + s·ξ)/τ), and of its gradient.
#pragma once

#include "math.h"

namespace base_fast {
namespace BF_ISA {

// (φ + s·ξ)/τ. The noise s·ξ is float32 for every type of φ.
template <class C>
BF_HD C gumbel_score(C logit, float noise, C inverse_tau) {
  return (logit + noise) * inverse_tau;
}

// Of `inner` = Σ grad·z over the row.
template <class C>
BF_HD C gumbel_softmax_d_logit(C grad, C z, C inner, C inverse_tau) {
  return (grad - inner) * z * inverse_tau;
}

}  // namespace BF_ISA
}  // namespace base_fast
