// Tensors of any strides for tests of kernels.
#pragma once

#include "../cuda/plan.h"
#include "vectors.h"

namespace strided {

enum class Format { contiguous, channels_last, sliced, cropped, expanded };

// (B, C, H, W) in memory of its own; elements that are not part of it are NaN.
template <class T>
struct Tensor4 {
  std::vector<int64_t> sizes, strides;
  vectors::Vector<T> memory;
  int64_t first = 0;

  Tensor4(std::vector<int64_t> shape, Format format) : sizes(std::move(shape)), strides(4) {
    const int contiguous[] = {3, 2, 1, 0}, channels_last[] = {1, 3, 2, 0};
    const int64_t apart = format == Format::sliced ? 3 : 1;  // every third column, from the second on
    int64_t stride = apart;
    for (int axis : format == Format::channels_last ? channels_last : contiguous) {
      strides[axis] = stride;
      stride *= sizes[axis] + (format == Format::cropped && axis == 3 ? 1 : 0);
    }
    if (format == Format::expanded) stride /= sizes[0], strides[0] = 0;
    first = apart - 1;
    memory = vectors::nans<T>(stride + first);
  }

  int64_t count() const { return sizes[0] * sizes[1] * sizes[2] * sizes[3]; }
  T* data() { return memory.data() + first; }
  const T* data() const { return memory.data() + first; }
  // Where element i in the order (B, C, H, W) lies.
  int64_t offset(int64_t i) const {
    int64_t offset = 0;
    for (int axis = 3; axis >= 0; --axis) {
      offset += i % sizes[axis] * strides[axis];
      i /= sizes[axis];
    }
    return offset;
  }
  T& operator[](int64_t i) { return data()[offset(i)]; }
  double at(int64_t i) const { return vectors::to_double(data()[offset(i)]); }

  // Looks random; differs from `seed` to `seed`.
  void fill(int seed, double scale, double shift) {
    const auto values = vectors::values<double>(count() + 17 * seed, scale, shift);
    for (int64_t i = 0; i < count(); ++i) (*this)[i] = vectors::of_double<T>(values[i]);
  }

  base_fast::host::Operand operand(int index) const { return {index, data(), sizes, strides}; }
};

}  // namespace strided
