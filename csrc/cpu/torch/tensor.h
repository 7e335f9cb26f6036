// What every binding needs from a tensor, on top of PyTorch's stable ABI. Arguments were checked in Python, where
// errors can name them; the checks here only keep memory safe for callers of `torch.ops` itself.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../../core/types.h"
#include "../memory/large_results.h"
#include "../memory/poison.h"

namespace base_fast {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr MemoryFormat kChannelsLast = MemoryFormat::ChannelsLast;

// Calls f with a value of the C++ type that holds elements of `dtype`.
template <class F>
decltype(auto) with_type(ScalarType dtype, const F& f) {
  switch (dtype) {
    case ScalarType::Float: return f(float{});
    case ScalarType::Double: return f(double{});
    case ScalarType::BFloat16: return f(bfloat16{});
    default: STD_TORCH_CHECK(false, "expected float32, float64 or bfloat16");
  }
}

// Whether channels are neighbours in memory, then columns, rows and images.
inline bool has_channels_last(const Tensor& x) {
  if (x.dim() != 4) return false;
  int64_t expected = 1;
  for (const int axis : {1, 3, 2, 0}) {
    if (x.size(axis) != 1 && x.stride(axis) != expected) return false;
    expected *= x.size(axis);
  }
  return true;
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

// A new tensor, whose memory is to be had in large pages.
inline Tensor fresh(const Tensor& result) {
  void* memory = result.mutable_data_ptr();
  const size_t bytes = size_t(result.numel()) * result.element_size();
  prefer_huge_pages(memory, bytes);
  poison_fresh(memory, bytes);
  return result;
}

// Not by way of the dispatcher, which takes microseconds and a handful of allocations for each of the dozens of tensors
// that a step makes.
inline Tensor empty(torch::headeronly::IntHeaderOnlyArrayRef sizes, ScalarType dtype,
                    MemoryFormat format = MemoryFormat::Contiguous) {
  std::vector<int64_t> strides(sizes.size());
  int64_t next = 1;
  const auto take = [&](size_t d) { strides[d] = next, next *= std::max<int64_t>(sizes[d], 1); };
  if (format == kChannelsLast) {
    for (const size_t d : {1, 3, 2, 0}) take(d);
  } else {
    for (size_t d = sizes.size(); d-- > 0;) take(d);
  }
  const int32_t type = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  AtenTensorHandle result;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(int64_t(sizes.size()), sizes.data(), strides.data(), type,
                                                         aoti_torch_device_type_cpu(), 0, &result));
  return fresh(Tensor(result));
}

inline Tensor dense_like(const Tensor& x) { return empty(x.sizes(), x.scalar_type()); }
inline Tensor output_like(const Tensor& x) { return fresh(torch::stable::empty_like(x)); }

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
