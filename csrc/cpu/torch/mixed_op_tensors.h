// Tensors as the passes of mixed edges take them.
#pragma once

#include "runner.h"
#include "tensor.h"
#include "threads.h"

#include "../../core/bfloat16.h"

namespace base_fast {

// How much of the forward pass backward finds in memory.
enum class Memory : int64_t { store, store_bfloat16, recompute };

inline Memory memory_of(int64_t number) {
  STD_TORCH_CHECK(number >= 0 && number <= int64_t(Memory::recompute), "memory: expected 0, 1 or 2");
  return Memory(number);
}

// What each thread's memory is for, see `thread_memory`.
struct Values;
struct FirstStageGradients;
struct WeightGradients;

// How the stages' values are stored, kept or not: what backward computes again is rounded as before.
template <class T>
Storage storage_of(ScalarType images, Memory memory) {
  const bool rounds = images == ScalarType::BFloat16 || memory == Memory::store_bfloat16;
  return rounds && std::is_same_v<T, float> ? Storage::bfloat16 : Storage::own;
}
template <class T>
ScalarType dtype_of(Storage storage) {
  return storage == Storage::bfloat16 ? ScalarType::BFloat16
         : std::is_same_v<T, float>   ? ScalarType::Float
                                      : ScalarType::Double;
}

inline Tensor channels_last(const Tensor& x) {
  return has_channels_last(x) ? x : torch::stable::contiguous(x, kChannelsLast);
}

// What z and weights may be beside images of some dtype: that, or float32 beside bfloat16.
inline bool fits(ScalarType dtype, ScalarType images) {
  return dtype == images || (images == ScalarType::BFloat16 && dtype == ScalarType::Float);
}

// What a tensor holds as T, in the tensor's own memory where it can.
template <class T>
class Numbers {
 public:
  explicit Numbers(const Tensor& tensor) : dense_(dense(tensor)), converted_(is_own() ? 0 : dense_.numel()) {
    for (int64_t i = 0; !is_own() && i < dense_.numel(); ++i)
      converted_.get()[i] = T(host::to_float(data<bfloat16>(dense_)[i]));
  }
  const T* get() const { return is_own() ? data<T>(dense_) : converted_.get(); }

 private:
  bool is_own() const { return dense_.scalar_type() != ScalarType::BFloat16; }
  Tensor dense_;
  Buffer<T> converted_;
};

// Memory for numbers that become a new tensor like another: its own, where the dtypes agree.
template <class T>
class Result {
 public:
  explicit Result(const Tensor& like) : tensor_(dense_like(like)), converted_(is_own() ? 0 : tensor_.numel()) {}
  T* get() const { return is_own() ? mutable_data<T>(tensor_) : converted_.get(); }
  Tensor finish() const {
    for (int64_t i = 0; !is_own() && i < tensor_.numel(); ++i)
      mutable_data<bfloat16>(tensor_)[i] = host::from_float<bfloat16>(float(converted_.get()[i]));
    return tensor_;
  }

 private:
  bool is_own() const { return tensor_.scalar_type() != ScalarType::BFloat16; }
  Tensor tensor_;
  Buffer<T> converted_;
};

}  // namespace base_fast
