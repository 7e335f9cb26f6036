// The kernels of mixed_sum.
#pragma once

#include "mixed_sum.h"

#include "../../core/bfloat16.h"
#include "../../core/mixed_sum.h"
#include "packing.h"

namespace base_fast {
namespace BF_ISA {

// Elements in a cache line.
template <class T>
constexpr int64_t kLine = 64 / int64_t(sizeof(T));

// Whether the block's rows follow one another.
template <class T>
bool dense_rows(const Block<T>& x, int64_t rows, int64_t columns) {
  return x.row == columns || rows == 1;
}

// One element of Σ over N branches, on top of what `sums` has unless it is the `first` group.
template <int N, bool first, class T, class C>
BF_HD C group_sum(const T* const (&x)[kSumAtOnce], const C (&weights)[kSumAtOnce], const C* sums, int64_t i) {
  C sum = first ? mixed_sum_d_branch<C>(to_float(x[0][i]), weights[0])
                : mixed_sum_term<C>(sums[i], weights[0], to_float(x[0][i]));
#pragma GCC unroll 8
  for (int n = 1; n < N; ++n) sum = mixed_sum_term<C>(sum, weights[n], to_float(x[n][i]));
  return sum;
}

// N branches at once: the sum stays in a register, and is written to y by the `last` group, else to `sums`. Lines that
// are needed soon are asked for: of so many streams the processor follows only some by itself.
template <int N, bool first, bool last, class T, class C>
void add_branches(const T* const* branches, const C* w, C* BF_RESTRICT sums, T* BF_RESTRICT y, int64_t count) {
  constexpr int64_t ahead = 64 * kLine<T>;
  const T* x[kSumAtOnce] = {};
  C weights[kSumAtOnce] = {};
  for (int n = 0; n < N; ++n) x[n] = branches[n], weights[n] = w[n];
  int64_t i = 0;
  for (; i + kLine<T> <= count; i += kLine<T>) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) __builtin_prefetch(x[n] + i + ahead);
#pragma GCC ivdep
    for (int64_t j = i; j < i + kLine<T>; ++j) {
      const C sum = group_sum<N, first>(x, weights, sums, j);
      last ? void(y[j] = from_float<T>(sum)) : void(sums[j] = sum);
    }
  }
  for (; i < count; ++i) {
    const C sum = group_sum<N, first>(x, weights, sums, i);
    last ? void(y[i] = from_float<T>(sum)) : void(sums[i] = sum);
  }
}

template <bool first, bool last, class T, class C>
void add_group(int64_t group, const T* const* x, const C* w, C* sums, T* y, int64_t count) {
  switch (group) {
    case 1: return add_branches<1, first, last>(x, w, sums, y, count);
    case 2: return add_branches<2, first, last>(x, w, sums, y, count);
    case 3: return add_branches<3, first, last>(x, w, sums, y, count);
    case 4: return add_branches<4, first, last>(x, w, sums, y, count);
    case 5: return add_branches<5, first, last>(x, w, sums, y, count);
    case 6: return add_branches<6, first, last>(x, w, sums, y, count);
    case 7: return add_branches<7, first, last>(x, w, sums, y, count);
    default: return add_branches<8, first, last>(x, w, sums, y, count);
  }
}

template <class T, class C>
void mixed_sum(const Block<const T>* x, const double* weights, int64_t branches, T* y, int64_t rows, int64_t columns,
               T* scratch, C* sums) {
  for (int64_t k = 0; k < branches; k += kSumAtOnce) {
    const int64_t group = branches - k < kSumAtOnce ? branches - k : kSumAtOnce;
    Block<const T> blocks[kSumAtOnce] = {};
    C w[kSumAtOnce] = {};
    bool dense = true;
    for (int64_t n = 0; n < group; ++n) {
      blocks[n] = packed(x[k + n], rows, columns, scratch + n * rows * columns);
      w[n] = static_cast<C>(weights[k + n]);
      dense = dense && dense_rows(blocks[n], rows, columns);
    }
    const bool first = k == 0, last = k + group == branches;
    const auto add = first ? (last ? add_group<true, true, T, C> : add_group<true, false, T, C>)
                           : (last ? add_group<false, true, T, C> : add_group<false, false, T, C>);
    const int64_t runs = dense ? 1 : rows, length = dense ? rows * columns : columns;
    for (int64_t run = 0; run < runs; ++run) {
      const T* from[kSumAtOnce] = {};
      for (int64_t n = 0; n < group; ++n) from[n] = blocks[n].data + run * blocks[n].row;
      add(group, from, w, sums + run * length, y + run * length, length);
    }
  }
}

// out = weight·grad, and Σ grad·x in as many sums as a compiler keeps in registers.
template <class T, class C>
void branch_gradient(const T* BF_RESTRICT grad, const T* BF_RESTRICT x, C weight, T* BF_RESTRICT out, int64_t count,
                     C* products) {
  C sums[kProductLanes];
  for (int64_t lane = 0; lane < kProductLanes; ++lane) sums[lane] = products[lane];
  const auto element = [&](int64_t i, C& sum) {
    const C g = to_float(grad[i]);
    out[i] = from_float<T>(mixed_sum_d_branch<C>(g, weight));
    sum += mixed_sum_d_weight<C>(g, to_float(x[i]));
  };
  int64_t i = 0;
  for (; i + kProductLanes <= count; i += kProductLanes) {
    for (int64_t j = 0; j < kProductLanes; j += kLine<T>) __builtin_prefetch(x + i + j + kPiece, 0, 2);
#pragma GCC ivdep
    for (int64_t lane = 0; lane < kProductLanes; ++lane) element(i + lane, sums[lane]);
  }
  for (int64_t lane = 0; i + lane < count; ++lane) element(i + lane, sums[lane]);
  for (int64_t lane = 0; lane < kProductLanes; ++lane) products[lane] = sums[lane];
}

template <class T, class C>
void mixed_sum_backward(Block<const T> grad, const Block<const T>* x, const double* weights, int64_t branches,
                        const Block<T>* dx, double* products, int64_t rows, int64_t columns, bool streamed, T* scratch,
                        C* sums) {
  const int64_t tile = rows * columns;
  const Block<const T> g = packed(grad, rows, columns, scratch);
  bool dense = dense_rows(g, rows, columns);
  for (int64_t k = 0; k < branches; ++k) {
    for (const bool unit : {has_unit_columns(x[k], columns), has_unit_columns(dx[k], columns)}) dense = dense && unit;
    dense = dense && dense_rows(x[k], rows, columns) && dense_rows(dx[k], rows, columns);
  }
  for (int64_t i = 0; i < branches * kProductLanes; ++i) sums[i] = C(0);
  // All branches of a piece before the next one, whose gradient stays near meanwhile.
  for (int64_t begin = 0; dense && begin < tile; begin += kPiece) {
    const int64_t count = tile - begin < kPiece ? tile - begin : kPiece;
    for (int64_t k = 0; k < branches; ++k) {
      T* const to = streamed ? scratch + tile : dx[k].data + begin;
      branch_gradient(g.data + begin, x[k].data + begin, static_cast<C>(weights[k]), to, count,
                      sums + k * kProductLanes);
      if (streamed) stream(dx[k].data + begin, to, count * int64_t(sizeof(T)));
    }
  }
  for (int64_t k = 0; !dense && k < branches; ++k) {
    const Block<const T> from = packed(x[k], rows, columns, scratch + tile);
    const Block<T> to = written(dx[k], columns, streamed, scratch + 2 * tile);
    for (int64_t row = 0; row < rows; ++row) {
      branch_gradient(g.data + row * g.row, from.data + row * from.row, static_cast<C>(weights[k]),
                      to.data + row * to.row, columns, sums + k * kProductLanes);
    }
    deliver(to, dx[k], rows, columns, streamed);
  }
  for (int64_t k = 0; k < branches; ++k) {
    products[k] = 0.0;
    for (int64_t lane = 0; lane < kProductLanes; ++lane) products[k] += sums[k * kProductLanes + lane];
  }
  stream_fence();
}

#define BF_INSTANTIATE(T, C)                                                                                  \
  template void mixed_sum<T, C>(const Block<const T>*, const double*, int64_t, T*, int64_t, int64_t, T*, C*); \
  template void mixed_sum_backward<T, C>(Block<const T>, const Block<const T>*, const double*, int64_t,       \
                                         const Block<T>*, double*, int64_t, int64_t, bool, T*, C*);
BF_INSTANTIATE(float, float)
BF_INSTANTIATE(double, double)
BF_INSTANTIATE(bfloat16, float)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
