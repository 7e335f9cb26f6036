#include "../elementwise/gaussian_sample.h"
#include "threads.h"
#include "registration.h"
#include "tensor.h"

namespace base_fast {
namespace {

Tensor gaussian_sample(const Tensor& mu, const Tensor& rho, const Tensor& key) {
  check_like(rho, mu, "rho");
  const Tensor m = dense(mu), r = dense(rho), theta = output_like(m);
  const Key k = key_of(key);
  with_type(m.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto kernel = BF_KERNEL(gaussian_sample<T>);
    parallel(m.numel(), [&](int64_t begin, int64_t end) {
      kernel(data<T>(m), data<T>(r), mutable_data<T>(theta), begin, end, k);
    });
  });
  return theta;
}

Tensor gaussian_sample_backward(const Tensor& grad, const Tensor& rho, const Tensor& key) {
  check_like(rho, grad, "rho");
  const Tensor g = dense(grad), r = dense(rho), d_rho = output_like(r);
  const Key k = key_of(key);
  with_type(r.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto kernel = BF_KERNEL(gaussian_sample_backward<T>);
    parallel(r.numel(), [&](int64_t begin, int64_t end) {
      kernel(data<T>(g), data<T>(r), mutable_data<T>(d_rho), begin, end, k);
    });
  });
  return d_rho;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, gaussian_sample);
  BF_REGISTER(library, gaussian_sample_backward);
}

}  // namespace base_fast
