// One walk over several tensors of the same shape but different strides, in tiles that fit a near cache. The tiles
// depend on shapes and strides alone: reductions keep one partial result for each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace base_fast {

// The axes of a walk, outermost first, with the strides of every tensor.
class Axes {
 public:
  explicit Axes(int tensors) : tensors_(tensors) {}

  // Appends an axis; stride_of(k) is the stride of tensor k.
  template <class F>
  void append(int64_t size, const F& stride_of) {
    sizes_.push_back(size);
    for (int k = 0; k < tensors_; ++k) strides_.push_back(stride_of(k));
  }

  // Joins neighbours among the axes from `begin` on, the last `keep` excepted, where that leaves every tensor one
  // stride, and forgets axes of size 1; at least `least` stay.
  void join(int begin, int keep, int least) {
    int end = count() - keep;
    for (int axis = end - 1; axis >= begin; --axis) {
      if (size(axis) == 1) {
        erase(axis);
        --end;
      } else if (axis + 1 < end && joins(axis)) {
        sizes_[axis + 1] *= size(axis);
        erase(axis);
        --end;
      }
    }
    for (; end - begin < least; ++end) {
      sizes_.insert(sizes_.begin() + begin, 1);
      strides_.insert(strides_.begin() + begin * tensors_, tensors_, 0);
    }
  }

  int tensors() const { return tensors_; }
  int count() const { return static_cast<int>(sizes_.size()); }
  int64_t size(int axis) const { return sizes_[axis]; }
  int64_t stride(int axis, int tensor) const { return strides_[axis * tensors_ + tensor]; }

 private:
  bool joins(int axis) const {
    for (int k = 0; k < tensors_; ++k) {
      if (stride(axis, k) != stride(axis + 1, k) * size(axis + 1)) return false;
    }
    return true;
  }

  void erase(int axis) {
    sizes_.erase(sizes_.begin() + axis);
    strides_.erase(strides_.begin() + axis * tensors_, strides_.begin() + (axis + 1) * tensors_);
  }

  int tensors_;
  std::vector<int64_t> sizes_;
  std::vector<int64_t> strides_;  // of one axis next to each other
};

struct Tile {
  int64_t index;
  int64_t rows;
  int64_t columns;
  const int64_t* position;  // of its first element, along every axis
  const int64_t* offset;    // of its first element, in every tensor
};

// Cuts the last two axes, rows and columns, into tiles; a tile lies at one position of the other axes. Tiles that
// follow each other lie below each other: a tensor that is dense in another order is then read while its lines are
// near.
class Tiles {
 public:
  Tiles(Axes axes, int64_t most_columns, int64_t elements, int64_t least_rows = 1) : axes_(std::move(axes)) {
    const int last = axes_.count() - 1;
    const int64_t rows = axes_.size(last - 1), columns = axes_.size(last);
    columns_ = std::max<int64_t>(1, std::min(columns, most_columns));
    rows_ = std::max<int64_t>(1, std::min(rows, std::max(elements / columns_, least_rows)));
    down_ = (rows + rows_ - 1) / rows_;
    across_ = (columns + columns_ - 1) / columns_;
    count_ = down_ * across_;
    for (int axis = 0; axis < last - 1; ++axis) count_ *= axes_.size(axis);
  }

  int64_t count() const { return count_; }
  int64_t elements() const { return rows_ * columns_; }  // of the largest tile
  int64_t row(int tensor) const { return axes_.stride(axes_.count() - 2, tensor); }
  int64_t column(int tensor) const { return axes_.stride(axes_.count() - 1, tensor); }
  const Axes& axes() const { return axes_; }

  // f(tile) for tiles [begin, end).
  template <class F>
  void each(int64_t begin, int64_t end, const F& f) const {
    const int last = axes_.count() - 1;
    std::vector<int64_t> position(last + 1), offset(axes_.tensors());
    for (int64_t index = begin; index < end; ++index) {
      int64_t rest = index;
      position[last - 1] = rest % down_ * rows_;
      rest /= down_;
      position[last] = rest % across_ * columns_;
      rest /= across_;
      for (int axis = last - 2; axis >= 0; --axis) {
        position[axis] = rest % axes_.size(axis);
        rest /= axes_.size(axis);
      }
      for (int k = 0; k < axes_.tensors(); ++k) {
        offset[k] = 0;
        for (int axis = 0; axis <= last; ++axis) offset[k] += position[axis] * axes_.stride(axis, k);
      }
      f(Tile{index, std::min(rows_, axes_.size(last - 1) - position[last - 1]),
             std::min(columns_, axes_.size(last) - position[last]), position.data(), offset.data()});
    }
  }

 private:
  Axes axes_;
  int64_t rows_;
  int64_t columns_;
  int64_t down_;
  int64_t across_;
  int64_t count_;
};

}  // namespace base_fast
