#include "launch.h"

#include "gaussian_sample.h"

namespace base_fast {
namespace {

Tensor gaussian_sample(const Tensor& mu, const Tensor& rho, const Tensor& key) {
  check_like(rho, mu, "rho");
  const torch::stable::accelerator::DeviceGuard guard(mu.get_device_index());
  const Tensor m = dense(mu), r = dense(rho), k = dense_key(key), theta = torch::stable::empty_like(m);
  const int64_t count = m.numel();
  if (count == 0) return theta;
  with_type(m.scalar_type(), [&](auto type) {
    using T = decltype(type);
    cuda::gaussian_sample_kernel<T><<<blocks_for((count + 3) / 4), kThreads, 0, stream_of(m)>>>(
        data<T>(m), data<T>(r), data<int64_t>(k), mutable_data<T>(theta), count,
        aligned({m.const_data_ptr(), r.const_data_ptr(), theta.const_data_ptr()}));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return theta;
}

Tensor gaussian_sample_backward(const Tensor& grad, const Tensor& rho, const Tensor& key) {
  check_like(rho, grad, "rho");
  const torch::stable::accelerator::DeviceGuard guard(rho.get_device_index());
  const Tensor g = dense(grad), r = dense(rho), k = dense_key(key), d_rho = torch::stable::empty_like(r);
  const int64_t count = r.numel();
  if (count == 0) return d_rho;
  with_type(r.scalar_type(), [&](auto type) {
    using T = decltype(type);
    cuda::gaussian_sample_backward_kernel<T><<<blocks_for((count + 3) / 4), kThreads, 0, stream_of(r)>>>(
        data<T>(g), data<T>(r), data<int64_t>(k), mutable_data<T>(d_rho), count,
        aligned({g.const_data_ptr(), r.const_data_ptr(), d_rho.const_data_ptr()}));
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return d_rho;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CUDA, library) {
  BF_REGISTER(library, gaussian_sample);
  BF_REGISTER(library, gaussian_sample_backward);
}

}  // namespace base_fast
