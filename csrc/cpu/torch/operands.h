// Tensors of one shape and any strides, as the operands of one walk.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <memory>
#include <vector>

#include "../elementwise/block.h"
#include "../memory/poison.h"
#include "tensor.h"
#include "../elementwise/tiles.h"

#include "../../core/bfloat16.h"

namespace base_fast {

inline void check_operand(const Tensor& x, const Tensor& first, ScalarType dtype, const char* name) {
  bool same = x.scalar_type() == dtype && x.dim() == first.dim();
  for (int64_t axis = 0; same && axis < x.dim(); ++axis) same = x.size(axis) == first.size(axis);
  STD_TORCH_CHECK(same, name, ": expected the shape and a dtype that go with the first branch");
}

inline bool is_channels_last(const Tensor& x) { return !x.is_contiguous() && has_channels_last(x); }

// An empty tensor of x's shape: channels-last if x is (and not contiguous too), else contiguous.
inline Tensor empty_dense_like(const Tensor& x, ScalarType dtype) {
  return empty(x.sizes(), dtype, is_channels_last(x) ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

inline std::vector<Tensor> empty_dense_like(const std::vector<Tensor>& tensors, ScalarType dtype) {
  std::vector<Tensor> result;
  result.reserve(tensors.size() + 1);  // gradients of branches, and soon of the weights
  for (const Tensor& x : tensors) result.push_back(empty_dense_like(x, dtype));
  return result;
}

// The values of a small tensor in double.
inline std::vector<double> values_of(const Tensor& tensor) {
  const Tensor x = dense(tensor);
  std::vector<double> values(x.numel());
  with_type(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    for (size_t i = 0; i < values.size(); ++i) values[i] = host::to_float(data<T>(x)[i]);
  });
  return values;
}

// The weight of each branch.
inline std::vector<double> weights_at(const Tensor& weights, const std::vector<int64_t>& positions) {
  const std::vector<double> all = values_of(weights);
  std::vector<double> result;
  for (int64_t position : positions) {
    STD_TORCH_CHECK(0 <= position && position < static_cast<int64_t>(all.size()), "positions: no such weight");
    result.push_back(all[position]);
  }
  return result;
}

// One value per branch → one per weight, 0 where no branch has it.
inline Tensor scattered(const std::vector<double>& values, const std::vector<int64_t>& positions,
                        const Tensor& weights) {
  std::vector<double> sums(weights.numel(), 0.0);
  for (size_t k = 0; k < values.size(); ++k) sums[positions[k]] += values[k];
  const Tensor result = empty(weights.sizes(), weights.scalar_type());
  with_type(weights.scalar_type(), [&](auto type) {
    using T = decltype(type);
    for (size_t l = 0; l < sums.size(); ++l) {
      mutable_data<T>(result)[l] = host::from_float<T>(static_cast<compute_t<T>>(sums[l]));
    }
  });
  return result;
}

template <class T>
std::unique_ptr<T[]> uninitialized(int64_t count) {
  std::unique_ptr<T[]> memory(new T[count]);
  poison_fresh(memory.get(), size_t(count) * sizeof(T));
  return memory;
}

// Where the tensors lie.
template <class T>
std::vector<const T*> data_of(const std::vector<Tensor>& tensors) {
  std::vector<const T*> result;
  for (const Tensor& x : tensors) result.push_back(data<T>(x));
  return result;
}
template <class T>
std::vector<T*> mutable_data_of(const std::vector<Tensor>& tensors) {
  std::vector<T*> result;
  for (const Tensor& x : tensors) result.push_back(mutable_data<T>(x));
  return result;
}

// What a tile covers of the tensor at `data`, operand k of the walk.
template <class T>
Block<T> block(const Tiles& tiles, const Tile& tile, int k, T* data) {
  return {data + tile.offset[k], tiles.row(k), tiles.column(k)};
}

}  // namespace base_fast
