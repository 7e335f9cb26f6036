#include "gaussian_kl.h"

#include "gaussians.h"

namespace base_fast {
namespace {

Tensor gaussian_kl(const Tensor& mu, const Tensor& rho, const Tensor& prior_mu, const Tensor& prior_rho) {
  const torch::stable::accelerator::DeviceGuard guard(mu.get_device_index());
  const GaussianTensors q(mu, rho, prior_mu, prior_rho);
  const int64_t blocks = q.blocks();
  const Tensor partials = torch::stable::new_empty(mu, {blocks}, ScalarType::Double);
  const Tensor kl = torch::stable::new_empty(mu, {});
  with_type(mu.scalar_type(), [&](auto type) {
    using T = decltype(type);
    cuda::gaussian_kl_kernel<T><<<blocks, kThreads, 0, stream_of(mu)>>>(q.data<T>(), mutable_data<double>(partials),
                                                                        q.count(), q.is_aligned());
    cuda::total_kernel<T><<<1, kThreads, 0, stream_of(mu)>>>(data<double>(partials), blocks, mutable_data<T>(kl));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return kl;
}

std::vector<Tensor> gaussian_kl_backward(const Tensor& grad, const Tensor& mu, const Tensor& rho,
                                         const Tensor& prior_mu, const Tensor& prior_rho, bool prior) {
  check_scalar(grad, mu, "grad");
  const torch::stable::accelerator::DeviceGuard guard(mu.get_device_index());
  const GaussianTensors q(mu, rho, prior_mu, prior_rho);
  const std::vector<Tensor> d = q.new_gradients(prior);
  if (q.count() == 0) return d;
  with_type(mu.scalar_type(), [&](auto type) {
    using T = decltype(type);
    cuda::gaussian_kl_backward_kernel<T><<<q.blocks(), kThreads, 0, stream_of(mu)>>>(
        data<T>(grad), q.data<T>(), gradients_of<T>(d), q.count(), q.is_aligned());
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return d;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CUDA, library) {
  BF_REGISTER(library, gaussian_kl);
  BF_REGISTER(library, gaussian_kl_backward);
}

}  // namespace base_fast
