// Tensors (B, C, H, W) that lie in memory in several ways, for tests. Storage ends where the last element does.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "../cpu/elementwise/block.h"
#include "../cpu/elementwise/tiles.h"
#include "vectors.h"

namespace layouts {

using Sizes = std::array<int64_t, 4>;

enum class Layout { contiguous, channels_last, cropped, every_other, permuted, expanded };
constexpr Layout kLayouts[] = {Layout::contiguous,  Layout::channels_last, Layout::cropped,
                               Layout::every_other, Layout::permuted,      Layout::expanded};
// Those that a result may have.
constexpr Layout kDense[] = {Layout::contiguous, Layout::channels_last};

inline Sizes strides_of(Layout layout, const Sizes& n) {
  switch (layout) {
    case Layout::channels_last: return {n[1] * n[2] * n[3], 1, n[3] * n[1], n[1]};
    case Layout::cropped: return {n[1] * (n[2] + 1) * (n[3] + 2), (n[2] + 1) * (n[3] + 2), n[3] + 2, 1};
    case Layout::every_other: return {2 * n[1] * n[2] * 2 * n[3], 2 * n[2] * 2 * n[3], 2 * n[3], 2};
    case Layout::permuted: return {n[1], 1, n[3] * n[0] * n[1], n[0] * n[1]};
    case Layout::expanded: return {0, n[3], 0, 1};
    case Layout::contiguous: break;
  }
  return {n[1] * n[2] * n[3], n[2] * n[3], n[3], 1};
}

template <class T>
struct Tensor {
  Sizes sizes;
  Sizes strides;
  vectors::Vector<T> storage;

  Tensor(Layout layout, const Sizes& n) : sizes(n), strides(strides_of(layout, n)), storage(vectors::nans<T>(span())) {}
  Tensor(Layout layout, const Sizes& n, double scale, double shift)
      : sizes(n), strides(strides_of(layout, n)), storage(vectors::values<T>(span(), scale, shift)) {}

  double value(int64_t b, int64_t c, int64_t h, int64_t w) const {
    return vectors::to_double(storage[b * strides[0] + c * strides[1] + h * strides[2] + w * strides[3]]);
  }

 private:
  int64_t span() const {
    int64_t last = 0;
    for (int axis = 0; axis < 4; ++axis) last += (sizes[axis] - 1) * strides[axis];
    return sizes[0] * sizes[1] * sizes[2] * sizes[3] == 0 ? 0 : last + 1;
  }
};

// f(b, c, h, w) for every element.
template <class F>
void each_element(const Sizes& n, const F& f) {
  for (int64_t b = 0; b < n[0]; ++b) {
    for (int64_t c = 0; c < n[1]; ++c) {
      for (int64_t h = 0; h < n[2]; ++h) {
        for (int64_t w = 0; w < n[3]; ++w) f(b, c, h, w);
      }
    }
  }
}

// The axes in some order, of tensors with these strides.
inline base_fast::Axes axes_of(const Sizes& n, const std::vector<Sizes>& strides, const std::array<int, 4>& order) {
  base_fast::Axes axes(static_cast<int>(strides.size()));
  for (int axis : order) {
    axes.append(n[axis], [&](int k) { return strides[k][axis]; });
  }
  return axes;
}

// Runs every tile: all at once, or one by one from the last to the first.
template <class F>
void each_tile(const base_fast::Tiles& tiles, bool backwards, const F& f) {
  if (!backwards) return tiles.each(0, tiles.count(), f);
  for (int64_t i = tiles.count(); i-- > 0;) tiles.each(i, i + 1, f);
}

template <class T>
base_fast::Block<T> block(const base_fast::Tiles& tiles, const base_fast::Tile& tile, int k, T* data) {
  return {data + tile.offset[k], tiles.row(k), tiles.column(k)};
}

}  // namespace layouts
