#include "../elementwise/gaussian_kl.h"
#include "gaussian_kl_operands.h"
#include "registration.h"

namespace base_fast {
namespace {

Tensor gaussian_kl(const Tensor& mu, const Tensor& rho, const Tensor& prior_mu, const Tensor& prior_rho) {
  const KlOperands q(mu, rho, prior_mu, prior_rho);
  const Tensor kl = empty({}, mu.scalar_type());
  with_type(mu.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto kernel = BF_KERNEL(gaussian_kl<T>);
    const Gaussians<T> data = q.data<T>();
    set_value<T>(kl, sum_of_cuts(q.count(), [&](int64_t begin, int64_t end) { return kernel(data, begin, end); }));
  });
  return kl;
}

std::vector<Tensor> gaussian_kl_backward(const Tensor& grad, const Tensor& mu, const Tensor& rho,
                                         const Tensor& prior_mu, const Tensor& prior_rho, bool prior) {
  const KlOperands q(mu, rho, prior_mu, prior_rho);
  check_scalar(grad, mu.scalar_type(), "grad");
  const std::vector<Tensor> d = q.new_gradients(prior);
  with_type(mu.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto kernel = BF_KERNEL(gaussian_kl_backward<T>);
    const double g = value_of<T>(grad);
    const Gaussians<T> data = q.data<T>();
    const GaussianGradients<T> out = gradients_of<T>(d);
    parallel(q.count(), [&](int64_t begin, int64_t end) { kernel(g, data, out, begin, end); });
  });
  return d;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, gaussian_kl);
  BF_REGISTER(library, gaussian_kl_backward);
}

}  // namespace base_fast
