#include "mixed_norm_sum.h"

#include "operands.h"
#include "weights_launch.h"

namespace base_fast {
namespace {

void check(const std::vector<Tensor>& branches, const Tensor& weights, const std::vector<int64_t>& positions,
           const std::vector<bool>& normalized) {
  check_branches(branches, weights, positions);
  STD_TORCH_CHECK(branches[0].dim() == 4, "branches: expected (B, C, H, W)");
  STD_TORCH_CHECK(normalized.size() == branches.size(), "normalized: expected one per branch");
}

cuda::Normalized normalized_of(const Group& group, const std::vector<bool>& normalized) {
  cuda::Normalized result{};
  for (int k = 0; k < group.count; ++k) result.at[k] = normalized[group.start + k];
  return result;
}

// 1/pixels of a channel.
double share_of(const Tensor& x) { return 1.0 / static_cast<double>(x.size(0) * x.size(2) * x.size(3)); }

// Blocks of the kernels that fill tables (branches, C).
unsigned table_blocks(const Group& group, int64_t channels) {
  return static_cast<unsigned>(group.count * ((channels + cuda::kTableColumns - 1) / cuda::kTableColumns));
}

std::tuple<Tensor, Tensor, Tensor> mixed_norm_sum(const std::vector<Tensor>& branches, const Tensor& weights,
                                                  const std::vector<int64_t>& positions,
                                                  const std::vector<bool>& normalized, double eps) {
  check(branches, weights, positions, normalized);
  STD_TORCH_CHECK(weights.scalar_type() == branches[0].scalar_type(), "weights: expected the branches' dtype");
  const torch::stable::accelerator::DeviceGuard guard(weights.get_device_index());
  const Tensor w = dense(weights), y = torch::stable::empty_like(branches[0]);
  const auto count = static_cast<int64_t>(branches.size());
  const int64_t channels = y.size(1);
  const std::vector<Group> groups = groups_of(branches.size());
  return with_type(y.scalar_type(), [&](auto type) -> std::tuple<Tensor, Tensor, Tensor> {
    using T = decltype(type);
    using C = cuda::compute_t<T>;
    const Tensor mean = torch::stable::new_empty(y, {count, channels}, scalar_type_of<C>());
    const Tensor rstd = torch::stable::empty_like(mean);
    if (y.numel() == 0) return {y, torch::stable::fill_(mean, NAN), torch::stable::fill_(rstd, NAN)};
    const Tensor sums = groups.size() > 1 ? empty_like(y, scalar_type_of<C>()) : y;
    const cudaStream_t stream = stream_of(y);
    for (const Group& group : groups) {
      const auto from = branches_of<T, T>(group, branches, {}, positions);
      const cuda::ChannelPlan plan(operands_of(group, y, branches, {}), group.count, kThreads);
      const int64_t table = group.count * channels;
      const Tensor moments = torch::stable::new_empty(y, {2 * plan.walk.slices * table}, ScalarType::Double);
      const Tensor terms = torch::stable::new_empty(y, {2 * table}, scalar_type_of<C>());
      C* const means = mutable_data<C>(mean) + group.start * channels;
      C* const rstds = mutable_data<C>(rstd) + group.start * channels;
      plan.with_lanes([&](auto lanes) {
        cuda::mixed_norm_sum_moments_kernel<T, lanes.value><<<plan.blocks * group.count, kThreads, 0, stream>>>(
            plan.walk, from, mutable_data<double>(moments));
        cuda::mixed_norm_sum_statistics_kernel<T><<<table_blocks(group, channels), kThreads, 0, stream>>>(
            plan.walk, from, normalized_of(group, normalized), data<T>(w), share_of(y), eps, data<double>(moments),
            means, rstds, mutable_data<C>(terms));
        cuda::mixed_norm_sum_kernel<T, lanes.value><<<plan.blocks, kThreads, 0, stream>>>(
            plan.walk, from, means, data<C>(terms), mutable_data<C>(sums), group.first, group.last,
            mutable_data<T>(y));
      });
    }
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    return {y, mean, rstd};
  });
}

template <class T, class X>
std::vector<Tensor> backward(const Tensor& grad, const std::vector<Tensor>& branches, const Tensor& weights,
                             const std::vector<int64_t>& positions, const std::vector<bool>& normalized,
                             const Tensor& mean, const Tensor& rstd) {
  using C = cuda::compute_t<T>;
  const Tensor w = dense(weights), means = dense(mean), rstds = dense(rstd);
  const int64_t channels = grad.size(1);
  std::vector<Tensor> gradients = empty_like(branches, grad.scalar_type());
  const cudaStream_t stream = stream_of(grad);
  DWeights d_weights(w, positions);
  for (const Group& group : groups_of(branches.size())) {
    const auto from = branches_of<X, T>(group, branches, gradients, positions);
    const cuda::ChannelPlan plan(operands_of(group, grad, branches, gradients), group.count, kThreads);
    const cuda::Normalized norms = normalized_of(group, normalized);
    const int64_t table = group.count * channels;
    const Tensor products = torch::stable::new_empty(w, {2 * plan.walk.slices * table}, ScalarType::Double);
    const Tensor along = torch::stable::new_empty(w, {table}, ScalarType::Double);
    const Tensor coefficients = torch::stable::new_empty(w, {3 * table}, scalar_type_of<C>());
    const C* const m = data<C>(means) + group.start * channels;
    const C* const r = data<C>(rstds) + group.start * channels;
    if (grad.numel() > 0) {
      plan.with_lanes([&](auto lanes) {
        cuda::mixed_norm_sum_products_kernel<T, X, lanes.value>
            <<<plan.blocks * group.count, kThreads, 0, stream>>>(plan.walk, data<T>(grad), from, m,
                                                                   mutable_data<double>(products));
        cuda::mixed_norm_sum_coefficients_kernel<T><<<table_blocks(group, channels), kThreads, 0, stream>>>(
            plan.walk, d_weights.positions(group), norms, data<T>(w), share_of(grad), data<double>(products), m, r,
            mutable_data<double>(along), mutable_data<C>(coefficients));
        cuda::mixed_norm_sum_backward_kernel<T, X, lanes.value>
            <<<plan.blocks * group.count, kThreads, 0, stream>>>(plan.walk, data<T>(grad), from, norms, m,
                                                                   data<C>(coefficients));
      });
    }
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    d_weights.add(group, along, grad.numel() > 0 ? channels : 0);
  }
  gradients.push_back(d_weights.result());
  return gradients;
}

std::vector<Tensor> mixed_norm_sum_backward(const Tensor& grad, const std::vector<Tensor>& branches,
                                            const Tensor& weights, const std::vector<int64_t>& positions,
                                            const std::vector<bool>& normalized, const Tensor& mean,
                                            const Tensor& rstd) {
  check(branches, weights, positions, normalized);
  check_operand(grad, branches[0], grad.scalar_type(), "grad");
  STD_TORCH_CHECK(weights.scalar_type() == grad.scalar_type(), "weights: expected grad's dtype");
  const int64_t table = static_cast<int64_t>(branches.size()) * grad.size(1);
  STD_TORCH_CHECK(mean.numel() == table && rstd.numel() == table, "mean, rstd: expected (K, C)");
  const torch::stable::accelerator::DeviceGuard guard(weights.get_device_index());
  const ScalarType stored = branches[0].scalar_type();
  return with_type(grad.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const ScalarType wide = scalar_type_of<cuda::compute_t<T>>();
    STD_TORCH_CHECK(mean.scalar_type() == wide && rstd.scalar_type() == wide,
                    "mean, rstd: expected float32, or float64 beside a float64 grad");
    if (stored == grad.scalar_type()) {
      return backward<T, T>(grad, branches, weights, positions, normalized, mean, rstd);
    }
    STD_TORCH_CHECK(stored == ScalarType::BFloat16, "branches: expected grad's dtype or bfloat16");
    return backward<T, bfloat16>(grad, branches, weights, positions, normalized, mean, rstd);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CUDA, library) {
  BF_REGISTER(library, mixed_norm_sum);
  BF_REGISTER(library, mixed_norm_sum_backward);
}

}  // namespace base_fast
