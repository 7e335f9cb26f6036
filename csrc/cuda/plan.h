// How a launch goes through tensors of one shape and any strides: decided on the host, from shapes and strides alone,
// so that sums are of the same terms in the same order on every GPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <type_traits>
#include <vector>

#include "../cpu/elementwise/tiles.h"
#include "device.h"
#include "walk.h"

namespace base_fast {
namespace BF_ISA {

// A tensor of a launch: which of the kernel's operands it is, and how it lies.
struct Operand {
  int index;
  const void* data;
  std::vector<int64_t> sizes, strides;
};

inline bool all_aligned(const std::vector<Operand>& operands) {
  return std::all_of(operands.begin(), operands.end(), [](const Operand& o) { return is_aligned(o.data); });
}

inline std::vector<int> all_axes(const Operand& x) {
  std::vector<int> axes(x.sizes.size());
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

// A walk in the order in which the first operand lies in memory, over the axes `included`. Axes that lie in each other
// in every operand are joined; false where more than kAxes are left.
template <int kAxes>
bool walk_over(const std::vector<Operand>& operands, std::vector<int> included, Walk<kAxes>& walk) {
  const Operand& first = operands[0];
  std::stable_sort(included.begin(), included.end(), [&](int a, int b) { return first.strides[a] > first.strides[b]; });
  Axes axes(static_cast<int>(operands.size()));
  for (int axis : included) axes.append(first.sizes[axis], [&](int k) { return operands[k].strides[axis]; });
  axes.join(0, 0, 1);
  if (axes.count() > kAxes) return false;
  walk = {};
  walk.axes = axes.count();
  for (int axis = 0; axis < walk.axes; ++axis) {
    const int innermost_first = walk.axes - 1 - axis;
    walk.size[innermost_first] = Divisor(std::max<int64_t>(1, axes.size(axis)));
    for (size_t k = 0; k < operands.size(); ++k) {
      walk.stride[operands[k].index][innermost_first] = axes.stride(axis, static_cast<int>(k));
    }
  }
  return true;
}

// Whether the walk goes through every operand element by element as it lies in memory.
template <int kAxes>
bool is_alike(const Walk<kAxes>& walk, const std::vector<Operand>& operands) {
  return walk.axes == 1 &&
         std::all_of(operands.begin(), operands.end(), [&](const Operand& o) { return walk.stride[o.index][0] == 1; });
}

// Branches [start, start + count) of a list: what one launch takes.
struct Group {
  int64_t start;
  int count;
  bool first, last;
};

inline std::vector<Group> groups_of(size_t branches) {
  std::vector<Group> groups;
  const auto all = static_cast<int64_t>(branches);
  for (int64_t start = 0; start < all; start += kBranches) {
    const int64_t rest = all - start;
    groups.push_back({start, static_cast<int>(std::min<int64_t>(rest, kBranches)), start == 0, rest <= kBranches});
  }
  return groups;
}

}  // namespace BF_ISA
}  // namespace base_fast
