#include "gumbel_softmax.h"

#include <cmath>

#include "launch.h"

namespace base_fast {
namespace {

struct Rows {
  int64_t count, entries;
  bool are_long;

  explicit Rows(const Tensor& x) {
    STD_TORCH_CHECK(x.dim() > 0 && x.size(x.dim() - 1) > 0, "expected (..., L) with L ≥ 1");
    entries = x.size(x.dim() - 1);
    count = x.numel() / entries;
    are_long = entries > cuda::kLongest;
  }
  cuda::RowTiles tiles() const { return cuda::RowTiles::of(count, entries, kThreads); }
  unsigned blocks() const {
    return static_cast<unsigned>(std::clamp<int64_t>(are_long ? count : tiles().count(), 1, cuda::kMaxBlocks));
  }
};

// `log_density`: (...), or null for the sample alone.
Tensor sampled(const Tensor& logits, const Tensor& key, double tau, bool hard, double noise,
               const Tensor* log_density) {
  const torch::stable::accelerator::DeviceGuard guard(logits.get_device_index());
  const Tensor phi = dense(logits), k = dense_key(key), z = torch::stable::empty_like(phi);
  const Rows rows(phi);
  if (rows.count == 0) return z;
  const auto L = static_cast<double>(rows.entries);
  const double constant = std::lgamma(L) + (L - 1.0) * std::log(tau);
  const bool fours = aligned({phi.const_data_ptr(), z.const_data_ptr()});
  with_type(phi.scalar_type(), [&](auto type) {
    using T = decltype(type);
    T* const density = log_density != nullptr ? mutable_data<T>(*log_density) : nullptr;
    if (rows.are_long) {
      const auto kernel =
          density != nullptr ? cuda::gumbel_softmax_long_kernel<T, true> : cuda::gumbel_softmax_long_kernel<T, false>;
      kernel<<<rows.blocks(), kThreads, 0, stream_of(phi)>>>(data<T>(phi), data<int64_t>(k), rows.count, rows.entries,
                                                             tau, hard, noise, constant, mutable_data<T>(z), density);
    } else {
      const auto kernel =
          density != nullptr ? cuda::gumbel_softmax_kernel<T, true> : cuda::gumbel_softmax_kernel<T, false>;
      kernel<<<rows.blocks(), kThreads, 0, stream_of(phi)>>>(data<T>(phi), data<int64_t>(k), rows.tiles(), tau, hard,
                                                             noise, constant, mutable_data<T>(z), density, fours);
    }
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return z;
}

// `grad_density`: (...), or null for the sample alone.
Tensor pulled_back(const Tensor& grad, const Tensor* grad_density, const Tensor& z, double tau) {
  check_like(grad, z, "grad");
  const torch::stable::accelerator::DeviceGuard guard(z.get_device_index());
  const Tensor g = dense(grad), y = dense(z), of_density = grad_density != nullptr ? dense(*grad_density) : g;
  const Tensor d_logits = torch::stable::empty_like(y);
  const Rows rows(y);
  STD_TORCH_CHECK(grad_density == nullptr ||
                      (of_density.scalar_type() == y.scalar_type() && of_density.numel() == rows.count),
                  "grad_density: expected z's dtype and one number per row");
  if (rows.count == 0) return d_logits;
  const bool fours = aligned({g.const_data_ptr(), y.const_data_ptr(), d_logits.const_data_ptr()});
  with_type(y.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const bool density = grad_density != nullptr;
    if (rows.are_long) {
      const auto kernel = density ? cuda::gumbel_softmax_long_backward_kernel<T, true>
                                  : cuda::gumbel_softmax_long_backward_kernel<T, false>;
      kernel<<<rows.blocks(), kThreads, 0, stream_of(y)>>>(data<T>(g), data<T>(of_density), data<T>(y), rows.count,
                                                           rows.entries, tau, mutable_data<T>(d_logits));
    } else {
      const auto kernel =
          density ? cuda::gumbel_softmax_backward_kernel<T, true> : cuda::gumbel_softmax_backward_kernel<T, false>;
      kernel<<<rows.blocks(), kThreads, 0, stream_of(y)>>>(data<T>(g), data<T>(of_density), data<T>(y), rows.tiles(),
                                                           tau, mutable_data<T>(d_logits), fours);
    }
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return d_logits;
}

Tensor gumbel_softmax(const Tensor& logits, const Tensor& key, double tau, bool hard, double noise) {
  return sampled(logits, key, tau, hard, noise, nullptr);
}

Tensor gumbel_softmax_backward(const Tensor& grad, const Tensor& z, double tau) {
  return pulled_back(grad, nullptr, z, tau);
}

std::tuple<Tensor, Tensor> gumbel_softmax_log_density(const Tensor& logits, const Tensor& key, double tau,
                                                      double noise) {
  STD_TORCH_CHECK(logits.dim() > 0, "logits: expected (..., L)");
  std::vector<int64_t> sizes;
  for (int64_t axis = 0; axis + 1 < logits.dim(); ++axis) sizes.push_back(logits.size(axis));
  const Tensor log_density = torch::stable::new_empty(logits, sizes);
  return {sampled(logits, key, tau, false, noise, &log_density), log_density};
}

Tensor gumbel_softmax_log_density_backward(const Tensor& grad_z, const Tensor& grad_density, const Tensor& z,
                                           double tau) {
  return pulled_back(grad_z, &grad_density, z, tau);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CUDA, library) {
  BF_REGISTER(library, gumbel_softmax);
  BF_REGISTER(library, gumbel_softmax_backward);
  BF_REGISTER(library, gumbel_softmax_log_density);
  BF_REGISTER(library, gumbel_softmax_log_density_backward);
}

}  // namespace base_fast
