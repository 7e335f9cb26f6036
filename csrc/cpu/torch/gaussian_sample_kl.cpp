#include "../elementwise/gaussian_sample_kl.h"
#include "gaussian_kl_operands.h"
#include "registration.h"

namespace base_fast {
namespace {

std::tuple<Tensor, Tensor> gaussian_sample_kl(const Tensor& mu, const Tensor& rho, const Tensor& prior_mu,
                                              const Tensor& prior_rho, const Tensor& key) {
  const KlOperands q(mu, rho, prior_mu, prior_rho);
  const Tensor theta = output_like(q.mu()), kl = empty({}, mu.scalar_type());
  const Key k = key_of(key);
  with_type(mu.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto kernel = BF_KERNEL(gaussian_sample_kl<T>);
    const Gaussians<T> data = q.data<T>();
    T* const out = mutable_data<T>(theta);
    set_value<T>(kl,
                 sum_of_cuts(q.count(), [&](int64_t begin, int64_t end) { return kernel(data, out, begin, end, k); }));
  });
  return {theta, kl};
}

std::vector<Tensor> gaussian_sample_kl_backward(const Tensor& grad_theta, const Tensor& grad_kl, const Tensor& mu,
                                                const Tensor& rho, const Tensor& prior_mu, const Tensor& prior_rho,
                                                const Tensor& key, bool prior) {
  const KlOperands q(mu, rho, prior_mu, prior_rho);
  check_scalar(grad_kl, mu.scalar_type(), "grad_kl");
  check_like(grad_theta, mu, "grad_theta");
  const Tensor g_theta = dense(grad_theta);
  const std::vector<Tensor> d = q.new_gradients(prior);
  const Key k = key_of(key);
  with_type(mu.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto kernel = BF_KERNEL(gaussian_sample_kl_backward<T>);
    const double g_kl = value_of<T>(grad_kl);
    const Gaussians<T> data = q.data<T>();
    const GaussianGradients<T> out = gradients_of<T>(d);
    const T* const g = base_fast::data<T>(g_theta);
    parallel(q.count(), [&](int64_t begin, int64_t end) { kernel(g, g_kl, data, out, begin, end, k); });
  });
  return d;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, gaussian_sample_kl);
  BF_REGISTER(library, gaussian_sample_kl_backward);
}

}  // namespace base_fast
