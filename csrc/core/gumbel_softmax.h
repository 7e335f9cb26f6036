// One element of z = softmax((φ + s·ξ)/τ), and of its gradients.
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

// The part of a density's gradient, L entries to the row.
template <class C>
BF_HD C gumbel_log_density_d_logit(C grad, C z, C entries, C inverse_tau) {
  return grad * (entries * z - C(1)) * inverse_tau;
}

// With x = (φ + s·ξ)/τ and τ·log z = φ + s·ξ − τ·lse(x), the Concrete log-density (Maddison et al. 2017, Eq. 10)
//   log Γ(L) + (L−1)·log τ + Σ(φ − (τ+1)·x) + L·lse(x) − L·lse(−s·ξ)
// is log Γ(L) + (L−1)·log τ + spread(x) − spread(−s·ξ), where nothing is left to cancel.
//
// spread(x) = Σ(max x − x) + L·log Σ exp(x − max x), of both sums.
template <class C>
BF_HD C spread(C sum_below, C sum_exp, C entries) {
  return sum_below + entries * log_(sum_exp);
}

}  // namespace BF_ISA
}  // namespace base_fast
