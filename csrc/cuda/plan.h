// How a launch goes through tensors of one shape and any strides: decided on the host, from shapes and strides alone,
// so that sums are of the same terms in the same order on every GPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <type_traits>
#include <vector>

#include "../cpu/tiles.h"
#include "channels.h"
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
  std::stable_sort(included.begin(), included.end(),
                   [&](int a, int b) { return first.strides[a] > first.strides[b]; });
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
  return walk.axes == 1 && std::all_of(operands.begin(), operands.end(),
                                       [&](const Operand& o) { return walk.stride[o.index][0] == 1; });
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

// How (B, C, H, W) tensors are gone through channel by channel.
struct ChannelPlan {
  ChannelWalk walk{};
  Lanes lanes = Lanes::none;
  unsigned blocks = 1;  // for one branch

  // Kernels that take one of so many branches at a time have as many times the blocks.
  ChannelPlan(const std::vector<Operand>& operands, int branches, unsigned threads) {
    const Operand& first = operands[0];
    walk_over<3>(operands, {0, 2, 3}, walk.walk);
    walk.channels = first.sizes[1];
    walk.pixels = first.sizes[0] * first.sizes[2] * first.sizes[3];
    lanes = lanes_of(operands);
    const int64_t of_group = lanes == Lanes::channels ? 4 : 1, of_run = lanes == Lanes::pixels ? 4 : 1;
    walk.groups = walk.channels / of_group;
    walk.pixels /= of_run;
    walk.walk.size[0] = Divisor(walk.walk.size[0].divisor() / of_run);
    for (const Operand& o : operands) {
      walk.channel[o.index] = o.strides[1];
      walk.group[o.index] = o.strides[1] * of_group;
      walk.walk.stride[o.index][0] *= of_run;
    }
    walk.across = lanes == Lanes::pixels || first.strides[1] != 1 ? 1 : across(walk.groups);
    const int64_t tiles = (walk.groups + walk.across - 1) / walk.across;
    const int64_t rows = threads / walk.across, wanted = (walk.pixels + kRuns * rows - 1) / (kRuns * rows);
    const int64_t most = std::max<int64_t>(1, kMaxBlocks / (tiles * branches));
    walk.slices = static_cast<unsigned>(std::clamp<int64_t>(wanted, 1, most));
    blocks = static_cast<unsigned>(tiles * walk.slices);
  }

  // f(lanes), as a constant.
  template <class F>
  void with_lanes(const F& f) const {
    switch (lanes) {
      case Lanes::pixels:
        return f(std::integral_constant<Lanes, Lanes::pixels>{});
      case Lanes::channels:
        return f(std::integral_constant<Lanes, Lanes::channels>{});
      case Lanes::none:
        return f(std::integral_constant<Lanes, Lanes::none>{});
    }
  }

 private:
  // Four at a time, where all operands have them beside each other and begin every run at a multiple of four.
  Lanes lanes_of(const std::vector<Operand>& operands) const {
    bool pixels = walk.walk.size[0].divisor() % 4 == 0 && all_aligned(operands);
    bool channels = walk.channels % 4 == 0 && all_aligned(operands);
    for (const Operand& o : operands) {
      bool apart = true;
      for (int axis = 1; axis < walk.walk.axes; ++axis) apart = apart && walk.walk.stride[o.index][axis] % 4 == 0;
      const int64_t inner = walk.walk.stride[o.index][0], channel = o.strides[1];
      pixels = pixels && apart && inner == 1 && channel % 4 == 0;
      channels = channels && apart && inner % 4 == 0 && channel == 1;
    }
    return pixels ? Lanes::pixels : channels ? Lanes::channels : Lanes::none;
  }

  // Of the powers of two that fill a sector of memory, the one that leaves the fewest threads without a group; of equal
  // ones the largest.
  static unsigned across(int64_t groups) {
    unsigned best = 4;
    const auto covered = [&](int64_t width) { return (groups + width - 1) / width * width; };
    for (unsigned width : {8u, 16u, 32u}) {
      if (covered(width) <= covered(best)) best = width;
    }
    return best;
  }
};

}  // namespace BF_ISA
}  // namespace base_fast
