// Blocks of any strides as blocks whose columns are neighbours, which loops over columns need to vectorize.
#pragma once

#include "block.h"
#include "stream.h"

namespace base_fast {
namespace BF_ISA {

// Copies between a dense block and one of any strides, along the shorter stride first: `f(dense, strided)` per element.
template <class F>
inline void for_strided(int64_t rows, int64_t columns, int64_t row, int64_t column, const F& f) {
  if (row < column) {
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t i = 0; i < rows; ++i) f(i * columns + j, i * row + j * column);
    }
  } else {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) f(i * columns + j, i * row + j * column);
    }
  }
}

template <class T>
bool has_unit_columns(const Block<T>& x, int64_t columns) {
  return x.column == 1 || columns == 1;
}

// x itself where its columns are neighbours, else a dense copy in `scratch`.
template <class T>
Block<const T> packed(const Block<const T>& x, int64_t rows, int64_t columns, T* scratch) {
  if (has_unit_columns(x, columns)) return x;
  for_strided(rows, columns, x.row, x.column,
              [&](int64_t dense, int64_t strided) { scratch[dense] = x.data[strided]; });
  return {scratch, columns, 1};
}

// Where to write y: y itself, or a dense block in `scratch` that deliver() takes to y, where y's columns are apart or
// it is to be streamed past the caches.
template <class T>
Block<T> written(const Block<T>& y, int64_t columns, bool streamed, T* scratch) {
  return has_unit_columns(y, columns) && !streamed ? y : Block<T>{scratch, columns, 1};
}

template <class T>
void deliver(const Block<T>& from, const Block<T>& y, int64_t rows, int64_t columns, bool streamed) {
  if (from.data == y.data) return;
  if (!has_unit_columns(y, columns)) {
    for_strided(rows, columns, y.row, y.column,
                [&](int64_t dense, int64_t strided) { y.data[strided] = from.data[dense]; });
  } else if (streamed) {
    const bool dense = y.row == columns || rows == 1;
    const int64_t runs = dense ? 1 : rows, length = dense ? rows * columns : columns;
    for (int64_t run = 0; run < runs; ++run) {
      stream(y.data + run * y.row, from.data + run * from.row, length * static_cast<int64_t>(sizeof(T)));
    }
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
