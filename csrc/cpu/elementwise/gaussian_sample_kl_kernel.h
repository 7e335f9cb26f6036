// The kernels of gaussian_sample_kl.
#pragma once

#include "gaussian_sample_kl.h"

#include "../../core/bfloat16.h"
#include "../../core/gaussian_sample_kl.h"
#include "noise.h"
#include "prior.h"
#include "sum.h"

namespace base_fast {
namespace BF_ISA {

template <template <class> class PriorOf, class T>
double gaussian_sample_kl_sum(Gaussians<T> q, T* theta, int64_t begin, int64_t end, Key key) {
  using C = compute_t<T>;
  const PriorOf<T> prior(q);
  Sum sum;
  C terms[kNoiseBlock];
  const auto f = [&](int64_t start, int count, const float* epsilon) {
#pragma GCC ivdep
    for (int j = 0; j < count; ++j) {
      const int64_t i = start + j;
      const C mu = to_float(q.mu[i]), rho = to_float(q.rho[i]);
      theta[i] = from_float<T>(gaussian_theta<C>(mu, rho, epsilon[j]));
      terms[j] = gaussian_kl_term<C>(mu, rho, softplus(rho), prior[i]);
    }
    sum.add(terms, count);
  };
  if constexpr (PriorOf<T>::kShared) {
    for_noise_blocks<normal_block>(key, begin, end, f, q.mu, q.rho);
  } else {
    for_noise_blocks<normal_block>(key, begin, end, f, q.mu, q.rho, q.prior_mu, q.prior_rho);
  }
  return sum.total();
}

template <class T>
double gaussian_sample_kl(Gaussians<T> q, T* theta, int64_t begin, int64_t end, Key key) {
  return q.shared_prior ? gaussian_sample_kl_sum<SharedPrior>(q, theta, begin, end, key)
                        : gaussian_sample_kl_sum<OwnPrior>(q, theta, begin, end, key);
}

template <template <class> class PriorOf, bool kOfPrior, class T>
void gaussian_sample_kl_gradients(const T* grad_theta, double grad_kl, Gaussians<T> q, GaussianGradients<T> d,
                                  int64_t begin, int64_t end, Key key) {
  using C = compute_t<T>;
  const PriorOf<T> prior(q);
  const C g = static_cast<C>(grad_kl);
  for_noise_blocks<normal_block>(
      key, begin, end,
      [&](int64_t start, int count, const float* epsilon) {
#pragma GCC ivdep
        for (int j = 0; j < count; ++j) {
          const int64_t i = start + j;
          const C mu = to_float(q.mu[i]), rho = to_float(q.rho[i]), sigma = softplus(rho), t = to_float(grad_theta[i]);
          const Prior<C> p = prior[i];
          d.mu[i] = from_float<T>(gaussian_sample_kl_d_mu(t, g, mu, p));
          d.rho[i] = from_float<T>(gaussian_sample_kl_d_rho<C>(t, g, rho, sigma, epsilon[j], p));
          if constexpr (kOfPrior) {
            d.prior_mu[i] = from_float<T>(-g * gaussian_kl_d_mu(mu, p));
            d.prior_rho[i] = from_float<T>(g * gaussian_kl_d_prior_rho(mu, sigma, prior.rho(i), p));
          }
        }
      },
      q.mu, q.rho, grad_theta);
}

template <class T>
void gaussian_sample_kl_backward(const T* grad_theta, double grad_kl, Gaussians<T> q, GaussianGradients<T> d,
                                 int64_t begin, int64_t end, Key key) {
  const bool of_prior = d.prior_mu != nullptr;
  const auto kernel = q.shared_prior ? (of_prior ? &gaussian_sample_kl_gradients<SharedPrior, true, T>
                                                 : &gaussian_sample_kl_gradients<SharedPrior, false, T>)
                                     : (of_prior ? &gaussian_sample_kl_gradients<OwnPrior, true, T>
                                                 : &gaussian_sample_kl_gradients<OwnPrior, false, T>);
  kernel(grad_theta, grad_kl, q, d, begin, end, key);
}

#define BF_INSTANTIATE(T)                                                                                              \
  template double gaussian_sample_kl<T>(Gaussians<T>, T*, int64_t, int64_t, Key);                                      \
  template void gaussian_sample_kl_backward<T>(const T*, double, Gaussians<T>, GaussianGradients<T>, int64_t, int64_t, \
                                               Key);
BF_INSTANTIATE(float)
BF_INSTANTIATE(double)
BF_INSTANTIATE(bfloat16)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
