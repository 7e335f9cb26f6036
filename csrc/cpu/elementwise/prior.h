// A prior that all weights share is one element, turned into a distribution once; any other is one per weight.
#pragma once

#include "../../core/bfloat16.h"
#include "../../core/gaussian_kl.h"
#include "gaussians.h"

namespace base_fast {
namespace BF_ISA {

template <class T>
struct SharedPrior {
  static constexpr bool kShared = true;
  compute_t<T> rho_;
  Prior<compute_t<T>> prior;

  explicit SharedPrior(Gaussians<T> q)
      : rho_(to_float(*q.prior_rho)), prior(prior_of<compute_t<T>>(to_float(*q.prior_mu), rho_)) {}
  BF_HD Prior<compute_t<T>> operator[](int64_t) const { return prior; }
  BF_HD compute_t<T> rho(int64_t) const { return rho_; }
};

template <class T>
struct OwnPrior {
  static constexpr bool kShared = false;
  const T* prior_mu;
  const T* prior_rho;

  explicit OwnPrior(Gaussians<T> q) : prior_mu(q.prior_mu), prior_rho(q.prior_rho) {}
  BF_HD Prior<compute_t<T>> operator[](int64_t i) const {
    return prior_of<compute_t<T>>(to_float(prior_mu[i]), to_float(prior_rho[i]));
  }
  BF_HD compute_t<T> rho(int64_t i) const { return to_float(prior_rho[i]); }
};

}  // namespace BF_ISA
}  // namespace base_fast
