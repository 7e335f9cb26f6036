// One walk over several tensors of the same shape and any strides.
#pragma once

#include "device.h"

namespace base_fast {
namespace BF_ISA {

// Tensors that one launch takes at most; ops on longer lists launch again.
constexpr int kBranches = 16;
// A result or a gradient, the branches, and their gradients.
constexpr int kOperands = 1 + 2 * kBranches;

// n / divisor without a division, which would be a call (Granlund, Montgomery: Division by invariant integers using
// multiplication; PLDI'94).
class Divisor {
 public:
  Divisor() = default;
  explicit Divisor(int64_t divisor) : divisor_(static_cast<uint64_t>(divisor)) {
    int bits = 0;
    while (bits < 63 && (uint64_t{1} << bits) < divisor_) ++bits;
    const auto excess = static_cast<unsigned __int128>((uint64_t{1} << bits) - divisor_) << 64;
    multiplier_ = static_cast<uint64_t>(excess / divisor_) + 1;
    shift0_ = bits > 0 ? 1 : 0;
    shift1_ = bits > 0 ? bits - 1 : 0;
  }

  int64_t divisor() const { return static_cast<int64_t>(divisor_); }

  // The quotient of n ≥ 0, which leaves the remainder.
  __device__ __forceinline__ int64_t divide(int64_t& n) const {
    const uint64_t dividend = static_cast<uint64_t>(n), high = __umul64hi(multiplier_, dividend);
    const uint64_t quotient = (high + ((dividend - high) >> shift0_)) >> shift1_;
    n = static_cast<int64_t>(dividend - quotient * divisor_);
    return static_cast<int64_t>(quotient);
  }

 private:
  uint64_t divisor_ = 1, multiplier_ = 1;
  int shift0_ = 0, shift1_ = 0;
};

// A position along every axis, innermost first.
template <int kAxes>
struct Place {
  int64_t at[kAxes];
};

template <int kAxes>
struct Walk {
  int axes;                          // ≥ 1, innermost first
  Divisor size[kAxes];
  int64_t stride[kOperands][kAxes];  // 0 along axes that there are not

  __device__ __forceinline__ Place<kAxes> place(int64_t i) const {
    Place<kAxes> place{};
    BF_UNROLL
    for (int axis = 0; axis < kAxes; ++axis) {
      place.at[axis] = i;
      if (axis + 1 >= axes) break;
      i = size[axis].divide(place.at[axis]);
    }
    return place;
  }

  __device__ __forceinline__ int64_t offset(const Place<kAxes>& place, int operand) const {
    int64_t offset = place.at[0] * stride[operand][0];
    BF_UNROLL
    for (int axis = 1; axis < kAxes; ++axis) {
      if (axis < axes) offset += place.at[axis] * stride[operand][axis];
    }
    return offset;
  }
};

// The branches of one launch, and which weight each has.
template <class X, class T>
struct Branches {
  int count;
  const X* x[kBranches];
  T* dx[kBranches];
  int64_t position[kBranches];
};

}  // namespace BF_ISA
}  // namespace base_fast
