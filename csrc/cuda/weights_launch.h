// The gradient for the weights, from one launch for each group of branches.
#pragma once

#include "operands.h"
#include "weights.h"

namespace base_fast {

class DWeights {
 public:
  DWeights(const Tensor& weights, const std::vector<int64_t>& positions)
      : positions_(positions),
        sums_(torch::stable::new_empty(weights, {weights.numel()}, ScalarType::Double)),
        d_weights_(torch::stable::empty_like(weights)) {}

  cuda::Positions positions(const Group& group) const {
    cuda::Positions result{};
    result.count = group.count;
    std::copy_n(positions_.begin() + group.start, group.count, result.at);
    return result;
  }

  // Adds the sums of the rows of `partials`, (branches of the group, parts) in double.
  void add(const Group& group, const Tensor& partials, int64_t parts) {
    with_type(d_weights_.scalar_type(), [&](auto type) {
      using T = decltype(type);
      cuda::d_weights_kernel<T><<<d_weights_.numel(), kThreads, 0, stream_of(d_weights_)>>>(
          data<double>(partials), parts, positions(group), mutable_data<double>(sums_), group.first, group.last,
          mutable_data<T>(d_weights_));
    });
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  Tensor result() const { return d_weights_; }

 private:
  const std::vector<int64_t>& positions_;
  Tensor sums_;
  Tensor d_weights_;
};

}  // namespace base_fast
