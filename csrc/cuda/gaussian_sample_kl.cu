#include "gaussian_sample_kl.h"

#include "gaussians.h"

namespace base_fast {
namespace {

std::tuple<Tensor, Tensor> gaussian_sample_kl(const Tensor& mu, const Tensor& rho, const Tensor& prior_mu,
                                              const Tensor& prior_rho, const Tensor& key) {
  const torch::stable::accelerator::DeviceGuard guard(mu.get_device_index());
  const GaussianTensors q(mu, rho, prior_mu, prior_rho);
  const Tensor k = dense_key(key), theta = torch::stable::empty_like(q.mu());
  const int64_t blocks = q.blocks();
  const Tensor partials = torch::stable::new_empty(mu, {blocks}, ScalarType::Double);
  const Tensor kl = torch::stable::new_empty(mu, {});
  with_type(mu.scalar_type(), [&](auto type) {
    using T = decltype(type);
    cuda::gaussian_sample_kl_kernel<T>
        <<<blocks, kThreads, 0, stream_of(mu)>>>(q.data<T>(), data<int64_t>(k), mutable_data<T>(theta),
                                                 mutable_data<double>(partials), q.count(), q.is_aligned());
    cuda::total_kernel<T><<<1, kThreads, 0, stream_of(mu)>>>(data<double>(partials), blocks, mutable_data<T>(kl));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {theta, kl};
}

std::vector<Tensor> gaussian_sample_kl_backward(const Tensor& grad_theta, const Tensor& grad_kl, const Tensor& mu,
                                                const Tensor& rho, const Tensor& prior_mu, const Tensor& prior_rho,
                                                const Tensor& key, bool prior) {
  check_like(grad_theta, mu, "grad_theta");
  check_scalar(grad_kl, mu, "grad_kl");
  const torch::stable::accelerator::DeviceGuard guard(mu.get_device_index());
  const GaussianTensors q(mu, rho, prior_mu, prior_rho);
  const Tensor g = dense(grad_theta), k = dense_key(key);
  const std::vector<Tensor> d = q.new_gradients(prior);
  if (q.count() == 0) return d;
  with_type(mu.scalar_type(), [&](auto type) {
    using T = decltype(type);
    cuda::gaussian_sample_kl_backward_kernel<T><<<q.blocks(), kThreads, 0, stream_of(mu)>>>(
        data<T>(g), data<T>(grad_kl), q.data<T>(), data<int64_t>(k), gradients_of<T>(d), q.count(),
        q.is_aligned() && aligned({g.const_data_ptr()}));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return d;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CUDA, library) {
  BF_REGISTER(library, gaussian_sample_kl);
  BF_REGISTER(library, gaussian_sample_kl_backward);
}

}  // namespace base_fast
