// The kernels of gaussian_kl.
#pragma once

#include "gaussian_kl.h"

#include "../../core/bfloat16.h"
#include "../../core/gaussian_kl.h"
#include "noise.h"
#include "prior.h"
#include "sum.h"

namespace base_fast {
namespace BF_ISA {

template <template <class> class PriorOf, class T>
double gaussian_kl_sum(Gaussians<T> q, int64_t begin, int64_t end) {
  using C = compute_t<T>;
  const PriorOf<T> prior(q);
  Sum sum;
  C terms[kNoiseBlock];
  for_blocks(
      begin, end,
      [&](int64_t start, int count) {
        for (int j = 0; j < count; ++j) {
          const int64_t i = start + j;
          const C rho = to_float(q.rho[i]);
          terms[j] = gaussian_kl_term<C>(to_float(q.mu[i]), rho, softplus(rho), prior[i]);
        }
        sum.add(terms, count);
      },
      q.mu, q.rho);
  return sum.total();
}

template <class T>
double gaussian_kl(Gaussians<T> q, int64_t begin, int64_t end) {
  return q.shared_prior ? gaussian_kl_sum<SharedPrior>(q, begin, end) : gaussian_kl_sum<OwnPrior>(q, begin, end);
}

template <template <class> class PriorOf, bool kOfPrior, class T>
void gaussian_kl_gradients(double grad, Gaussians<T> q, GaussianGradients<T> d, int64_t begin, int64_t end) {
  using C = compute_t<T>;
  const PriorOf<T> prior(q);
  const C g = static_cast<C>(grad);
  for_blocks(
      begin, end,
      [&](int64_t start, int count) {
#pragma GCC ivdep
        for (int j = 0; j < count; ++j) {
          const int64_t i = start + j;
          const C mu = to_float(q.mu[i]), rho = to_float(q.rho[i]), sigma = softplus(rho);
          const Prior<C> p = prior[i];
          const C d_mu = g * gaussian_kl_d_mu(mu, p);
          d.mu[i] = from_float<T>(d_mu);
          d.rho[i] = from_float<T>(g * gaussian_kl_d_rho(rho, sigma, p));
          if constexpr (kOfPrior) {
            d.prior_mu[i] = from_float<T>(-d_mu);
            d.prior_rho[i] = from_float<T>(g * gaussian_kl_d_prior_rho(mu, sigma, prior.rho(i), p));
          }
        }
      },
      q.mu, q.rho);
}

template <class T>
void gaussian_kl_backward(double grad, Gaussians<T> q, GaussianGradients<T> d, int64_t begin, int64_t end) {
  const bool of_prior = d.prior_mu != nullptr;
  const auto kernel =
      q.shared_prior
          ? (of_prior ? &gaussian_kl_gradients<SharedPrior, true, T> : &gaussian_kl_gradients<SharedPrior, false, T>)
          : (of_prior ? &gaussian_kl_gradients<OwnPrior, true, T> : &gaussian_kl_gradients<OwnPrior, false, T>);
  kernel(grad, q, d, begin, end);
}

#define BF_INSTANTIATE(T)                                         \
  template double gaussian_kl<T>(Gaussians<T>, int64_t, int64_t); \
  template void gaussian_kl_backward<T>(double, Gaussians<T>, GaussianGradients<T>, int64_t, int64_t);
BF_INSTANTIATE(float)
BF_INSTANTIATE(double)
BF_INSTANTIATE(bfloat16)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
