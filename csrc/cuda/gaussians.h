// μ, ρ and the prior as arguments of the KL kernels.
#pragma once

#include "launch.h"

#include "../cpu/elementwise/gaussians.h"

namespace base_fast {

// μ, ρ, μ₀ and ρ₀ of one dtype and P elements each, made dense but for a prior expanded from one element.
class GaussianTensors {
 public:
  GaussianTensors(const Tensor& mu, const Tensor& rho, const Tensor& prior_mu, const Tensor& prior_rho)
      : mu_(dense(mu)),
        rho_(dense(rho)),
        shared_(is_expanded(prior_mu) && is_expanded(prior_rho)),
        prior_mu_(shared_ ? prior_mu : dense(prior_mu)),
        prior_rho_(shared_ ? prior_rho : dense(prior_rho)) {
    check_like(rho, mu, "rho");
    check_like(prior_mu, mu, "prior_mu");
    check_like(prior_rho, mu, "prior_rho");
  }

  const Tensor& mu() const { return mu_; }
  int64_t count() const { return mu_.numel(); }
  int64_t blocks() const { return blocks_for((count() + 3) / 4); }

  template <class T>
  Gaussians<T> data() const {
    return {base_fast::data<T>(mu_), base_fast::data<T>(rho_), base_fast::data<T>(prior_mu_),
            base_fast::data<T>(prior_rho_), shared_};
  }

  // Whether what is read in fours may be.
  bool is_aligned() const {
    return aligned({mu_.const_data_ptr(), rho_.const_data_ptr()}) &&
           (shared_ || aligned({prior_mu_.const_data_ptr(), prior_rho_.const_data_ptr()}));
  }

  // Empty gradients for μ, ρ and, where `prior`, for μ₀ and ρ₀. New tensors are aligned.
  std::vector<Tensor> new_gradients(bool prior) const {
    std::vector<Tensor> d;
    for (int i = 0; i < (prior ? 4 : 2); ++i) d.push_back(torch::stable::empty_like(mu_));
    return d;
  }

 private:
  static bool is_expanded(const Tensor& x) { return x.dim() == 1 && x.size(0) > 1 && x.stride(0) == 0; }

  Tensor mu_, rho_;
  bool shared_;
  Tensor prior_mu_, prior_rho_;
};

template <class T>
GaussianGradients<T> gradients_of(const std::vector<Tensor>& d) {
  return {mutable_data<T>(d[0]), mutable_data<T>(d[1]), d.size() > 2 ? mutable_data<T>(d[2]) : nullptr,
          d.size() > 2 ? mutable_data<T>(d[3]) : nullptr};
}

// A gradient that is one number, as kernels read it.
inline void check_scalar(const Tensor& grad, const Tensor& mu, const char* name) {
  STD_TORCH_CHECK(grad.scalar_type() == mu.scalar_type() && grad.numel() == 1, name,
                  ": expected a scalar of mu's dtype");
}

}  // namespace base_fast
