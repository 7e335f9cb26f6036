// Tensors as the operands of a launch.
#pragma once

#include <array>
#include <vector>

#include "launch.h"
#include "plan.h"

namespace base_fast {

using cuda::Group;
using cuda::groups_of;
using cuda::kBranches;
using cuda::Operand;

inline void check_operand(const Tensor& x, const Tensor& first, ScalarType dtype, const char* name) {
  bool same = x.scalar_type() == dtype && x.dim() == first.dim();
  for (int64_t axis = 0; same && axis < x.dim(); ++axis) same = x.size(axis) == first.size(axis);
  STD_TORCH_CHECK(same, name, ": expected the shape and a dtype that go with the first branch");
}

inline void check_branches(const std::vector<Tensor>& branches, const Tensor& weights,
                           const std::vector<int64_t>& positions) {
  STD_TORCH_CHECK(!branches.empty() && branches.size() == positions.size(),
                  "branches, positions: expected as many of each, and at least one");
  for (const Tensor& x : branches) check_operand(x, branches[0], branches[0].scalar_type(), "branches");
  for (int64_t l : positions) STD_TORCH_CHECK(0 <= l && l < weights.numel(), "positions: no such weight");
}

// As torch.empty_like(x, dtype=dtype): in x's memory format.
inline Tensor empty_like(const Tensor& x, ScalarType dtype) {
  if (x.scalar_type() == dtype) return torch::stable::empty_like(x);
  using torch::stable::detail::from;
  std::array<StableIValue, 6> stack{
      from(x),           from(std::optional(dtype)), from(std::nullopt), from(std::nullopt), from(std::nullopt),
      from(std::nullopt)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::empty_like", "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

inline std::vector<Tensor> empty_like(const std::vector<Tensor>& tensors, ScalarType dtype) {
  std::vector<Tensor> result;
  for (const Tensor& x : tensors) result.push_back(empty_like(x, dtype));
  return result;
}

inline Operand operand_of(int index, const Tensor& x) {
  Operand operand{index, x.const_data_ptr(), {}, {}};
  for (int64_t axis = 0; axis < x.dim(); ++axis) {
    operand.sizes.push_back(x.size(axis));
    operand.strides.push_back(x.stride(axis));
  }
  return operand;
}

// The operands of a group: `one`, the branches and, unless there are none, their gradients.
inline std::vector<Operand> operands_of(const Group& group, const Tensor& one, const std::vector<Tensor>& branches,
                                        const std::vector<Tensor>& gradients) {
  std::vector<Operand> operands{operand_of(0, one)};
  for (int k = 0; k < group.count; ++k) {
    operands.push_back(operand_of(1 + k, branches[group.start + k]));
    if (!gradients.empty()) operands.push_back(operand_of(1 + kBranches + k, gradients[group.start + k]));
  }
  return operands;
}

template <class X, class T>
cuda::Branches<X, T> branches_of(const Group& group, const std::vector<Tensor>& branches,
                                 const std::vector<Tensor>& gradients, const std::vector<int64_t>& positions) {
  cuda::Branches<X, T> result{};
  result.count = group.count;
  for (int k = 0; k < group.count; ++k) {
    result.x[k] = data<X>(branches[group.start + k]);
    result.dx[k] = gradients.empty() ? nullptr : mutable_data<T>(gradients[group.start + k]);
    result.position[k] = positions[group.start + k];
  }
  return result;
}

}  // namespace base_fast
