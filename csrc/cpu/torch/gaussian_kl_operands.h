// What the bindings of the KL kernels share: their tensors, as the kernels read them.
#pragma once

#include "../../core/bfloat16.h"

#include <vector>

#include "../elementwise/gaussians.h"
#include "threads.h"
#include "tensor.h"

namespace base_fast {

// μ, ρ, μ₀ and ρ₀ of one dtype and P elements each, dense but for a prior expanded from one element.
class KlOperands {
 public:
  KlOperands(const Tensor& mu, const Tensor& rho, const Tensor& prior_mu, const Tensor& prior_rho)
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

  template <class T>
  Gaussians<T> data() const {
    return {base_fast::data<T>(mu_), base_fast::data<T>(rho_), base_fast::data<T>(prior_mu_),
            base_fast::data<T>(prior_rho_), shared_};
  }

  // Empty gradients for μ, ρ and, where `prior`, for μ₀ and ρ₀.
  std::vector<Tensor> new_gradients(bool prior) const {
    std::vector<Tensor> d;
    d.reserve(4);
    for (int k = 0; k < (prior ? 4 : 2); ++k) d.push_back(output_like(mu_));
    return d;
  }

 private:
  static bool is_expanded(const Tensor& x) { return !x.is_contiguous() && x.dim() == 1 && x.stride(0) == 0; }

  Tensor mu_, rho_;
  bool shared_;
  Tensor prior_mu_, prior_rho_;
};

template <class T>
GaussianGradients<T> gradients_of(const std::vector<Tensor>& d) {
  return {mutable_data<T>(d[0]), mutable_data<T>(d[1]), d.size() > 2 ? mutable_data<T>(d[2]) : nullptr,
          d.size() > 2 ? mutable_data<T>(d[3]) : nullptr};
}

inline void check_scalar(const Tensor& x, ScalarType dtype, const char* name) {
  STD_TORCH_CHECK(x.scalar_type() == dtype && x.numel() == 1, name, ": expected a scalar of mu's dtype");
}

template <class T>
double value_of(const Tensor& scalar) {
  return host::to_float(*data<T>(scalar));
}

template <class T>
void set_value(const Tensor& scalar, double value) {
  *mutable_data<T>(scalar) = host::from_float<T>(static_cast<compute_t<T>>(value));
}

// Σ term(begin, end) over [0, count): one partial sum per cut, added in order.
template <class F>
double sum_of_cuts(int64_t count, const F& term) {
  std::vector<double> partial(cuts(count));
  parallel_cuts(count, [&](int64_t cut, int64_t begin, int64_t end) { partial[cut] = term(begin, end); });
  double sum = 0.0;
  for (double one : partial) sum += one;
  return sum;
}

}  // namespace base_fast
