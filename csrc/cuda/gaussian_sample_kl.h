// gaussian_sample and gaussian_kl in one pass: a thread takes one Philox block, which is four weights, at a time.
#pragma once

#include "gaussian_kl.h"

#include "../core/gaussian_sample_kl.h"
#include "../core/philox.h"

namespace base_fast {
namespace BF_ISA {

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    gaussian_sample_kl_kernel(Gaussians<T> q, const int64_t* __restrict__ key, T* __restrict__ theta,
                              double* __restrict__ partials, int64_t count, bool aligned) {
  using C = compute_t<T>;
  const Key k = load_key(key);
  FourGaussians<T> four(q);
  double sum = 0.0;
  for (int64_t quad = thread_index(); 4 * quad < count; quad += thread_count()) {
    const Noise4 epsilon = normal4(k, quad);
    four.load(q, quad, count, aligned);
    Four<T> y;
    BF_UNROLL
    for (int j = 0; j < 4; ++j) {
      const C mu = four.mu(j), rho = four.rho(j);
      y.x[j] = from_float<T>(gaussian_theta<C>(mu, rho, C(epsilon.x[j])));
      const C term = gaussian_kl_term<C>(mu, rho, softplus(rho), four.prior(j));
      if (4 * quad + j < count) sum += term;
    }
    store4(theta, quad, count, aligned, y);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    gaussian_sample_kl_backward_kernel(const T* __restrict__ grad_theta, const T* __restrict__ grad_kl, Gaussians<T> q,
                                       const int64_t* __restrict__ key, GaussianGradients<T> to, int64_t count,
                                       bool aligned) {
  using C = compute_t<T>;
  const Key k = load_key(key);
  const C g_kl = to_float(*grad_kl);
  FourGaussians<T> four(q);
  for (int64_t quad = thread_index(); 4 * quad < count; quad += thread_count()) {
    const Noise4 epsilon = normal4(k, quad);
    const Four<T> g = load4(grad_theta, quad, count, aligned);
    four.load(q, quad, count, aligned);
    FourGradients<T> d;
    BF_UNROLL
    for (int j = 0; j < 4; ++j) {
      const C g_theta = to_float(g.x[j]), mu = four.mu(j), rho = four.rho(j), sigma = softplus(rho);
      const Prior<C> prior = four.prior(j);
      d.mu.x[j] = from_float<T>(gaussian_sample_kl_d_mu(g_theta, g_kl, mu, prior));
      d.rho.x[j] = from_float<T>(gaussian_sample_kl_d_rho(g_theta, g_kl, rho, sigma, C(epsilon.x[j]), prior));
      if (to.prior_mu == nullptr) continue;
      d.prior_mu.x[j] = from_float<T>(-g_kl * gaussian_kl_d_mu(mu, prior));
      d.prior_rho.x[j] = from_float<T>(g_kl * gaussian_kl_d_prior_rho(mu, sigma, four.prior_rho(j), prior));
    }
    d.store(to, quad, count, aligned);
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
