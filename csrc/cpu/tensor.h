// What every binding needs from a tensor, on top of PyTorch's stable ABI. Arguments were checked in Python, where errors
// can name them; the checks here only keep memory safe for callers of `torch.ops` itself.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "../core/types.h"
#include "large_results.h"

namespace base_fast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Calls f with a value of the C++ type that holds elements of `dtype`.
template <class F>
decltype(auto) with_type(ScalarType dtype, const F& f) {
  switch (dtype) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::Double:
      return f(double{});
    case ScalarType::BFloat16:
      return f(bfloat16{});
    default:
      STD_TORCH_CHECK(false, "expected float32, float64 or bfloat16");
  }
}

inline Tensor dense(const Tensor& x) { return x.is_contiguous() ? x : torch::stable::contiguous(x); }

template <class T>
const T* data(const Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}

template <class T>
T* mutable_data(const Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

// New tensors, whose memory is to be had in large pages.
inline Tensor in_large_pages(const Tensor& result) {
  prefer_huge_pages(result.mutable_data_ptr(), size_t(result.numel()) * result.element_size());
  return result;
}

inline Tensor empty(torch::headeronly::IntHeaderOnlyArrayRef sizes, ScalarType dtype,
                    std::optional<torch::headeronly::MemoryFormat> format = std::nullopt) {
  return in_large_pages(torch::stable::empty(sizes, dtype, std::nullopt,
                                             torch::stable::Device(torch::headeronly::DeviceType::CPU), std::nullopt,
                                             format));
}

// Dense, with another's sizes and dtype. Not through the dispatcher, where each of the dozen gradients that an edge has
// costs three microseconds.
inline Tensor dense_like(const Tensor& x) {
  std::vector<int64_t> strides(size_t(x.dim()), 1);
  for (size_t d = strides.size(); d-- > 1;) strides[d - 1] = strides[d] * x.size(int64_t(d));
  int32_t dtype;
  AtenTensorHandle result;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(x.get(), &dtype));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(x.dim(), x.sizes().data(), strides.data(), dtype,
                                                         aoti_torch_device_type_cpu(), 0, &result));
  return in_large_pages(Tensor(result));
}

inline Tensor output_like(const Tensor& x) { return in_large_pages(torch::stable::empty_like(x)); }

constexpr auto kChannelsLast = torch::headeronly::MemoryFormat::ChannelsLast;

inline Tensor empty_image(int64_t b, int64_t c, int64_t h, int64_t w, ScalarType dtype) {
  return empty({b, c, h, w}, dtype, kChannelsLast);
}

inline Key key_of(const Tensor& key) {
  STD_TORCH_CHECK(key.scalar_type() == ScalarType::Long && key.numel() == 2, "key: expected int64 [seed, offset]");
  const Tensor k = dense(key);
  return {data<int64_t>(k)[0], data<int64_t>(k)[1]};
}

inline void check_like(const Tensor& x, const Tensor& other, const char* name) {
  STD_TORCH_CHECK(x.scalar_type() == other.scalar_type() && x.numel() == other.numel(), name,
                  ": expected the dtype and number of elements of the first argument");
}

}  // namespace base_fast
