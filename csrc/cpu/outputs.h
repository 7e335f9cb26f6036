// New tensors for results.
#pragma once

#include <torch/csrc/stable/ops.h>

#include "large_results.h"
#include "tensor.h"

namespace base_fast {

inline Tensor output_like(const Tensor& x) {
  const Tensor result = torch::stable::empty_like(x);
  const size_t bytes = static_cast<size_t>(result.numel()) * result.element_size();
  if (bytes >= size_t{1} << 22) prefer_huge_pages(result.mutable_data_ptr(), bytes);
  return result;
}

}  // namespace base_fast
