// A thread takes four weights at a time, and sums their terms; a block leaves one partial sum.
#pragma once

#include "device.h"
#include "reduce.h"

#include "../core/gaussian_kl.h"
#include "../cpu/elementwise/gaussians.h"

namespace base_fast {
namespace BF_ISA {

// Four weights: elements [4·quad, 4·quad + 4) of μ, ρ and the prior.
template <class T>
class FourGaussians {
 public:
  using C = compute_t<T>;

  __device__ __forceinline__ explicit FourGaussians(const Gaussians<T>& q) : shared_(q.shared_prior) {
    if (shared_) {
      prior_rho_ = {q.prior_rho[0], q.prior_rho[0], q.prior_rho[0], q.prior_rho[0]};
      common_ = prior_of<C>(to_float(q.prior_mu[0]), to_float(q.prior_rho[0]));
    }
  }

  __device__ __forceinline__ void load(const Gaussians<T>& q, int64_t quad, int64_t count, bool aligned) {
    mu_ = load4(q.mu, quad, count, aligned);
    rho_ = load4(q.rho, quad, count, aligned);
    if (shared_) return;
    prior_mu_ = load4(q.prior_mu, quad, count, aligned);
    prior_rho_ = load4(q.prior_rho, quad, count, aligned);
  }

  __device__ __forceinline__ C mu(int j) const { return to_float(mu_.x[j]); }
  __device__ __forceinline__ C rho(int j) const { return to_float(rho_.x[j]); }
  __device__ __forceinline__ C prior_rho(int j) const { return to_float(prior_rho_.x[j]); }
  __device__ __forceinline__ Prior<C> prior(int j) const {
    return shared_ ? common_ : prior_of<C>(to_float(prior_mu_.x[j]), to_float(prior_rho_.x[j]));
  }

 private:
  bool shared_;
  Prior<C> common_{};
  Four<T> mu_{}, rho_{}, prior_mu_{}, prior_rho_{};
};

// partials[block] = Σ of the block's terms.
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    gaussian_kl_kernel(Gaussians<T> q, double* __restrict__ partials, int64_t count, bool aligned) {
  using C = compute_t<T>;
  FourGaussians<T> four(q);
  double sum = 0.0;
  for (int64_t quad = thread_index(); 4 * quad < count; quad += thread_count()) {
    four.load(q, quad, count, aligned);
    BF_UNROLL
    for (int j = 0; j < 4; ++j) {
      const C term = gaussian_kl_term<C>(four.mu(j), four.rho(j), softplus(four.rho(j)), four.prior(j));
      if (4 * quad + j < count) sum += term;
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// The gradients of four weights.
template <class T>
struct FourGradients {
  Four<T> mu, rho, prior_mu, prior_rho;

  __device__ __forceinline__ void store(const GaussianGradients<T>& to, int64_t quad, int64_t count, bool aligned) {
    store4(to.mu, quad, count, aligned, mu);
    store4(to.rho, quad, count, aligned, rho);
    if (to.prior_mu == nullptr) return;
    store4(to.prior_mu, quad, count, aligned, prior_mu);
    store4(to.prior_rho, quad, count, aligned, prior_rho);
  }
};

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    gaussian_kl_backward_kernel(const T* __restrict__ grad, Gaussians<T> q, GaussianGradients<T> to, int64_t count,
                                bool aligned) {
  using C = compute_t<T>;
  const C g = to_float(*grad);
  FourGaussians<T> four(q);
  for (int64_t quad = thread_index(); 4 * quad < count; quad += thread_count()) {
    four.load(q, quad, count, aligned);
    FourGradients<T> d;
    BF_UNROLL
    for (int j = 0; j < 4; ++j) {
      const C mu = four.mu(j), rho = four.rho(j), sigma = softplus(rho);
      const Prior<C> prior = four.prior(j);
      const C d_mu = g * gaussian_kl_d_mu(mu, prior);
      d.mu.x[j] = from_float<T>(d_mu);
      d.rho.x[j] = from_float<T>(g * gaussian_kl_d_rho(rho, sigma, prior));
      if (to.prior_mu == nullptr) continue;
      d.prior_mu.x[j] = from_float<T>(-d_mu);
      d.prior_rho.x[j] = from_float<T>(g * gaussian_kl_d_prior_rho(mu, sigma, four.prior_rho(j), prior));
    }
    d.store(to, quad, count, aligned);
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
