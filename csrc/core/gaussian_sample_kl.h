// Gradients of one element of θ = μ + softplus(ρ)·ε together with KL(N(μ, σ²) ‖ N(μ₀, σ₀²)).
#pragma once

#include "gaussian_kl.h"
#include "gaussian_sample.h"

namespace base_fast {
namespace BF_ISA {

template <class C>
BF_HD C gaussian_sample_kl_d_mu(C grad_theta, C grad_kl, C mu, Prior<C> prior) {
  return grad_theta + grad_kl * gaussian_kl_d_mu(mu, prior);
}

template <class C>
BF_HD C gaussian_sample_kl_d_rho(C grad_theta, C grad_kl, C rho, C sigma, C epsilon, Prior<C> prior) {
  return gaussian_d_rho(grad_theta, rho, epsilon) + grad_kl * gaussian_kl_d_rho(rho, sigma, prior);
}

}  // namespace BF_ISA
}  // namespace base_fast
