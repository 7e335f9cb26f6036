#include "gumbel_softmax.h"

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

Tensor gumbel_softmax(const Tensor& logits, const Tensor& key, double tau, bool hard, double noise) {
  const torch::stable::accelerator::DeviceGuard guard(logits.get_device_index());
  const Tensor phi = dense(logits), k = dense_key(key), z = torch::stable::empty_like(phi);
  const Rows rows(phi);
  if (rows.count == 0) return z;
  const bool fours = aligned({phi.const_data_ptr(), z.const_data_ptr()});
  with_type(phi.scalar_type(), [&](auto type) {
    using T = decltype(type);
    if (rows.are_long) {
      cuda::gumbel_softmax_long_kernel<T><<<rows.blocks(), kThreads, 0, stream_of(phi)>>>(
          data<T>(phi), data<int64_t>(k), rows.count, rows.entries, tau, hard, noise, mutable_data<T>(z));
    } else {
      cuda::gumbel_softmax_kernel<T><<<rows.blocks(), kThreads, 0, stream_of(phi)>>>(
          data<T>(phi), data<int64_t>(k), rows.tiles(), tau, hard, noise, mutable_data<T>(z), fours);
    }
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return z;
}

Tensor gumbel_softmax_backward(const Tensor& grad, const Tensor& z, double tau) {
  check_like(grad, z, "grad");
  const torch::stable::accelerator::DeviceGuard guard(z.get_device_index());
  const Tensor g = dense(grad), y = dense(z), d_logits = torch::stable::empty_like(y);
  const Rows rows(y);
  if (rows.count == 0) return d_logits;
  const bool fours = aligned({g.const_data_ptr(), y.const_data_ptr(), d_logits.const_data_ptr()});
  with_type(y.scalar_type(), [&](auto type) {
    using T = decltype(type);
    if (rows.are_long) {
      cuda::gumbel_softmax_long_backward_kernel<T><<<rows.blocks(), kThreads, 0, stream_of(y)>>>(
          data<T>(g), data<T>(y), rows.count, rows.entries, tau, mutable_data<T>(d_logits));
    } else {
      cuda::gumbel_softmax_backward_kernel<T><<<rows.blocks(), kThreads, 0, stream_of(y)>>>(
          data<T>(g), data<T>(y), rows.tiles(), tau, mutable_data<T>(d_logits), fours);
    }
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return d_logits;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CUDA, library) {
  BF_REGISTER(library, gumbel_softmax);
  BF_REGISTER(library, gumbel_softmax_backward);
}

}  // namespace base_fast
