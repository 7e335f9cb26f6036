// Runs of elements wrapped into short rows, so that loops go over columns: everything that depends on the channel, and
// every sum, is then one value per column, which vectorizes the same whether channels are outermost or innermost.
#pragma once

#include "../../core/macros.h"
#include "block.h"
#include "packing.h"

namespace base_fast {
namespace BF_ISA {

constexpr int64_t kColumns = 256;

// `runs` runs of `length` elements, each wrapped into rows of `width` ≤ kColumns; column j is of channel j % channels.
struct Wrapped {
  int64_t runs;
  int64_t length;
  int64_t width;
  int64_t channels;

  // f(run, begin, count) for every row: elements [begin, begin + count) of the run, on columns [0, count).
  template <class F>
  inline __attribute__((always_inline)) void each_row(const F& f) const {
    for (int64_t run = 0; run < runs; ++run) {
      int64_t begin = 0;
      for (; begin + width <= length; begin += width) f(run, begin, width);
      if (begin < length) f(run, begin, length - begin);
    }
  }
};

template <class T>
bool dense_rows(const Block<T>& x, int64_t rows, int64_t columns) {
  return x.row == columns || rows == 1;
}

// A block of packed tensors, of one channel or of one per column; `dense`: the rows of all of them follow one another.
inline Wrapped wrapped(int64_t rows, int64_t columns, int64_t channels, bool dense) {
  const int64_t runs = dense ? 1 : rows, length = dense ? rows * columns : columns;
  const int64_t width = channels * (kColumns / channels);
  return {runs, length, width < length ? width : length, channels};
}

// Adds up the columns of each channel, into values[0..channels).
inline void fold(double* values, int64_t width, int64_t channels) {
  for (int64_t rows = width / channels; rows > 1;) {
    const int64_t half = (rows + 1) / 2;
    const int64_t low = half * channels, count = (rows - half) * channels;
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) values[j] += values[j + low];
    rows = half;
  }
}

// The sums that each column has collected, added up per channel.
template <class C>
void fold_sums(const C* sums, int64_t width, int64_t channels, double* totals) {
  double values[kColumns];
  for (int64_t j = 0; j < width; ++j) values[j] = sums[j];
  fold(values, width, channels);
  for (int64_t c = 0; c < channels; ++c) totals[c] = values[c];
}

// One value per channel → one per column, in place.
template <class C>
void spread(C* values, int64_t width, int64_t channels) {
  for (int64_t filled = channels; filled < width;) {
    const int64_t count = filled < width - filled ? filled : width - filled;
    memcpy(values + filled, values, count * sizeof(C));
    filled += count;
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
