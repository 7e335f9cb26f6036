// Launching kernels on PyTorch's current stream, through its stable ABI.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "../cpu/torch/registration.h"
#include "../cpu/torch/tensor.h"
#include "device.h"

namespace base_fast {

constexpr int kThreads = 256;
static_assert(kThreads == cuda::kMostThreads);

inline unsigned blocks_for(int64_t threads) {
  return static_cast<unsigned>(std::clamp<int64_t>((threads + kThreads - 1) / kThreads, 1, cuda::kMaxBlocks));
}

inline cudaStream_t stream_of(const Tensor& x) {
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

template <class C>
constexpr ScalarType scalar_type_of() {
  return sizeof(C) == 8 ? ScalarType::Double : ScalarType::Float;
}

// A key that kernels can read.
inline Tensor dense_key(const Tensor& key) {
  STD_TORCH_CHECK(key.scalar_type() == ScalarType::Long && key.numel() == 2, "key: expected int64 [seed, offset]");
  return dense(key);
}

// Whether all of these may be read and written in fours.
inline bool aligned(std::initializer_list<const void*> pointers) {
  return std::all_of(pointers.begin(), pointers.end(), cuda::is_aligned);
}

}  // namespace base_fast
