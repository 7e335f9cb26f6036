#include "mixed_sum.h"

#include "weights_launch.h"

namespace base_fast {
namespace {

// Calls f with the elements of the group's operands: in fours where they lie alike, else one by one.
template <class F>
void with_elements(const std::vector<Operand>& operands, int64_t count, const F& f) {
  cuda::WalkedElements elements{count, {}};
  const bool walks = cuda::walk_over(operands, cuda::all_axes(operands[0]), elements.walk);
  STD_TORCH_CHECK(walks, "branches: expected at most ", cuda::kElementAxes, " axes that do not lie in each other");
  if (count == 1 || cuda::is_alike(elements.walk, operands)) {
    f(cuda::AlikeElements{count, cuda::all_aligned(operands)});
  } else {
    f(elements);
  }
}

Tensor mixed_sum(const std::vector<Tensor>& branches, const Tensor& weights, const std::vector<int64_t>& positions) {
  check_branches(branches, weights, positions);
  STD_TORCH_CHECK(weights.scalar_type() == branches[0].scalar_type(), "weights: expected the branches' dtype");
  const torch::stable::accelerator::DeviceGuard guard(weights.get_device_index());
  const Tensor w = dense(weights), y = torch::stable::empty_like(branches[0]);
  const int64_t count = y.numel();
  if (count == 0) return y;
  const std::vector<Group> groups = groups_of(branches.size());
  with_type(y.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using C = compute_t<T>;
    // What a launch passes on to the next: in bfloat16 the sum is rounded once.
    const Tensor sums = groups.size() > 1 ? empty_like(y, scalar_type_of<C>()) : y;
    for (const Group& group : groups) {
      const std::vector<Operand> operands = operands_of(group, y, branches, {});
      with_elements(operands, count, [&](const auto& elements) {
        const int64_t threads = (count + elements.kWidth - 1) / elements.kWidth;
        cuda::mixed_sum_kernel<T><<<blocks_for(threads), kThreads, 0, stream_of(y)>>>(
            elements, branches_of<T, T>(group, branches, {}, positions), data<T>(w), mutable_data<C>(sums), group.first,
            group.last, mutable_data<T>(y));
      });
    }
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}

std::vector<Tensor> mixed_sum_backward(const Tensor& grad, const std::vector<Tensor>& branches, const Tensor& weights,
                                       const std::vector<int64_t>& positions) {
  check_branches(branches, weights, positions);
  check_operand(grad, branches[0], branches[0].scalar_type(), "grad");
  STD_TORCH_CHECK(weights.scalar_type() == grad.scalar_type(), "weights: expected the branches' dtype");
  const torch::stable::accelerator::DeviceGuard guard(weights.get_device_index());
  const Tensor w = dense(weights);
  std::vector<Tensor> gradients = empty_like(branches, grad.scalar_type());
  const int64_t count = grad.numel();
  // Blocks per branch; as many whatever the strides, so that sums are of the same terms.
  const auto blocks = [&](const Group& group) {
    return std::clamp<int64_t>((count + 16 * kThreads - 1) / (16 * kThreads), 1, cuda::kMaxBlocks / group.count);
  };
  DWeights d_weights(w, positions);
  with_type(grad.scalar_type(), [&](auto type) {
    using T = decltype(type);
    for (const Group& group : groups_of(branches.size())) {
      const int64_t parts = blocks(group);
      const Tensor partials = torch::stable::new_empty(w, {group.count * parts}, ScalarType::Double);
      const std::vector<Operand> operands = operands_of(group, grad, branches, gradients);
      with_elements(operands, count, [&](const auto& elements) {
        cuda::mixed_sum_backward_kernel<T><<<group.count * parts, kThreads, 0, stream_of(w)>>>(
            elements, data<T>(grad), branches_of<T, T>(group, branches, gradients, positions), data<T>(w),
            mutable_data<double>(partials));
      });
      d_weights.add(group, partials, parts);
    }
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  gradients.push_back(d_weights.result());
  return gradients;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CUDA, library) {
  BF_REGISTER(library, mixed_sum);
  BF_REGISTER(library, mixed_sum_backward);
}

}  // namespace base_fast
