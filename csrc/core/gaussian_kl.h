// One element of KL(N(μ, σ²) ‖ N(μ₀, σ₀²)) with σ = softplus(ρ), and its gradients.
//
// With t = (μ − μ₀)/σ₀ and d = (σ − σ₀)/σ₀ = σ/σ₀ − 1 a term is (t² + d²)/2 + (d − log(1 + d)). Near q = p, where all
// of it vanishes, nothing cancels: σ − σ₀ is exact there, and d − log(1 + d) is computed as d²·(…).
#pragma once

#include "math.h"

namespace base_fast {
namespace BF_ISA {

// Below this σ, softplus(ρ) is exp ρ to the last bit, so that log σ = ρ and d log σ/dρ = 1 without σ, which underflows.
template <class C>
struct SmallSigma;
template <>
struct SmallSigma<float> {
  static constexpr float sigma = 7.88860905e-31f, rho = -69.3147181f;  // 2⁻¹⁰⁰ and its logarithm
  static constexpr float lowest = 1.64581145e-38f, lowest_rho = -87.0f;  // the least σ taken, a normal number
};
template <>
struct SmallSigma<double> {
  static constexpr double sigma = 8.63616855509444e-78, rho = -177.445678223345984;  // 2⁻²⁵⁶ and its logarithm
  static constexpr double lowest = 9.85967654375977e-305, lowest_rho = -700.0;
};

// d − log r of r = 1 + d; d is the more precise near r = 1, r near 0.
BF_HD float minus_log(float d, float r) {
  // As log_positive, but f, the part of r − 1 that is left after the power of two, cancels from d in exact arithmetic.
  const int32_t above = static_cast<int32_t>(bits_of(r) - 0x3f2aaaabu);
  const int32_t e = above >> 23;
  const float f = e == 0 ? d : float_of(bits_of(r) - (static_cast<uint32_t>(above) & 0xff800000u)) - 1.0f;
  const float s = f * f;
  float even = 0.139963686f, odd = -0.129440963f;
  even = BF_FMA(even, s, 0.140044346f);
  odd = BF_FMA(odd, s, -0.121720865f);
  even = BF_FMA(even, s, 0.200104773f);
  odd = BF_FMA(odd, s, -0.166812077f);
  even = BF_FMA(even, s, 0.333332151f);
  odd = BF_FMA(odd, s, -0.249997839f);
  const float p = BF_FMA(BF_FMA(odd, f, even), f, -0.5f);
  return BF_FMA(static_cast<float>(e), -0.693147181f, (d - f) - p * s);
}
BF_HD double minus_log(double d, double r) { return d - (fabs(d) < 0.5 ? log1p(d) : log(r)); }

// N(μ₀, σ₀²); made once for all elements that share it. σ₀ stays a normal number, so that 1/σ₀ is finite.
template <class C>
struct Prior {
  C mu;
  C sigma;
  C precision;  // 1/σ₀
  C below;      // what log σ₀ lacks where σ₀ was raised
};

template <class C>
BF_HD Prior<C> prior_of(C mu, C rho) {
  const C sigma = softplus(rho < SmallSigma<C>::lowest_rho ? SmallSigma<C>::lowest_rho : rho);
  const C below = rho < SmallSigma<C>::lowest_rho ? SmallSigma<C>::lowest_rho - rho : C(0);
  return {mu, sigma, C(1) / sigma, below};
}

template <class C>
BF_HD C gaussian_kl_term(C mu, C rho, C sigma, Prior<C> prior) {
  const C t = (mu - prior.mu) * prior.precision;
  const C d = ((sigma < SmallSigma<C>::lowest ? SmallSigma<C>::lowest : sigma) - prior.sigma) * prior.precision;
  const C floored = sigma < SmallSigma<C>::sigma ? SmallSigma<C>::sigma : sigma;
  const C below = rho < SmallSigma<C>::rho ? SmallSigma<C>::rho - rho : C(0);
  return C(0.5) * (t * t + d * d) + minus_log(d, floored * prior.precision) + (below - prior.below);
}

// d log σ/dρ = sigmoid(ρ)/σ, which is 1 where both underflow.
template <class C>
BF_HD C log_sigma_slope(C rho, C sigma) {
  const C slope = sigmoid(rho);
  return (slope < SmallSigma<C>::sigma ? SmallSigma<C>::sigma : slope) /
         (sigma < SmallSigma<C>::sigma ? SmallSigma<C>::sigma : sigma);
}

template <class C>
BF_HD C gaussian_kl_d_mu(C mu, Prior<C> prior) {
  return (mu - prior.mu) * prior.precision * prior.precision;
}

template <class C>
BF_HD C gaussian_kl_d_rho(C rho, C sigma, Prior<C> prior) {
  const C d = (sigma - prior.sigma) * prior.precision;
  return d * (C(2) + d) * log_sigma_slope(rho, sigma);  // (σ²/σ₀² − 1)·d log σ/dρ
}

template <class C>
BF_HD C gaussian_kl_d_prior_rho(C mu, C sigma, C prior_rho, Prior<C> prior) {
  const C t = (mu - prior.mu) * prior.precision;
  const C d = (sigma - prior.sigma) * prior.precision;
  return -(d * (C(2) + d) + t * t) * log_sigma_slope(prior_rho, prior.sigma);
}

}  // namespace BF_ISA
}  // namespace base_fast
