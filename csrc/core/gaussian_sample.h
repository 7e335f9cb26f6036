// θ = μ + softplus(ρ)·ε and its gradient for ρ, of one element.
#pragma once

#include "math.h"

namespace base_fast {
namespace BF_ISA {

template <class C>
BF_HD C gaussian_theta(C mu, C rho, C epsilon) {
  return mu + softplus(rho) * epsilon;
}

template <class C>
BF_HD C gaussian_d_rho(C grad, C rho, C epsilon) {
  return grad * sigmoid(rho) * epsilon;
}

}  // namespace BF_ISA
}  // namespace base_fast
