// The kernels of mixed_sum.
#pragma once

#include "mixed_sum.h"

#include "../../core/bfloat16.h"
#include "../../core/mixed_sum.h"
#include "columns.h"

namespace base_fast {
namespace BF_ISA {

// sums[i] = (first ? 0 : sums[i]) + Σ of N branches. Four at a time: so often the sums are read and written less than
// the branches, and a processor follows as many streams ahead of time.
template <int N, bool first, class T, class C>
inline void add_branches(const T* const* x, const C* weights, C* BF_RESTRICT sums, int64_t count) {
  const T *x0 = x[0], *x1 = x[N > 1], *x2 = x[N > 2 ? 2 : 0], *x3 = x[N > 3 ? 3 : 0];
  const C w0 = weights[0], w1 = weights[N > 1], w2 = weights[N > 2 ? 2 : 0], w3 = weights[N > 3 ? 3 : 0];
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    C sum = first ? mixed_sum_d_branch<C>(to_float(x0[i]), w0) : mixed_sum_term<C>(sums[i], w0, to_float(x0[i]));
    if (N > 1) sum = mixed_sum_term<C>(sum, w1, to_float(x1[i]));
    if (N > 2) sum = mixed_sum_term<C>(sum, w2, to_float(x2[i]));
    if (N > 3) sum = mixed_sum_term<C>(sum, w3, to_float(x3[i]));
    sums[i] = sum;
  }
}

template <bool first, class T, class C>
inline void add_group(int group, const T* const* x, const C* weights, C* sums, int64_t count) {
  switch (group) {
    case 1: return add_branches<1, first>(x, weights, sums, count);
    case 2: return add_branches<2, first>(x, weights, sums, count);
    case 3: return add_branches<3, first>(x, weights, sums, count);
    default: return add_branches<4, first>(x, weights, sums, count);
  }
}

template <class T, class C>
void mixed_sum(const Block<const T>* x, const double* weights, int64_t branches, T* y, int64_t rows, int64_t columns,
               T* room, C* sums) {
  constexpr int at_once = 4;
  for (int64_t k = 0; k < branches; k += at_once) {
    const int group = branches - k < at_once ? static_cast<int>(branches - k) : at_once;
    Block<const T> blocks[at_once] = {};
    C w[at_once] = {};
    bool dense = true;
    for (int m = 0; m < group; ++m) {
      blocks[m] = packed(x[k + m], rows, columns, room + m * rows * columns);
      w[m] = static_cast<C>(weights[k + m]);
      dense = dense && dense_rows(blocks[m], rows, columns);
    }
    const int64_t runs = dense ? 1 : rows, length = dense ? rows * columns : columns;
    for (int64_t run = 0; run < runs; ++run) {
      const T* from[at_once] = {};
      for (int m = 0; m < group; ++m) from[m] = blocks[m].data + run * blocks[m].row;
      if (k == 0) {
        add_group<true>(group, from, w, sums + run * length, length);
      } else {
        add_group<false>(group, from, w, sums + run * length, length);
      }
    }
  }
  for (int64_t i = 0; i < rows * columns; ++i) y[i] = from_float<T>(sums[i]);
}

template <class T>
void mixed_sum_backward(Block<const T> grad, const Block<const T>* x, const double* weights, int64_t branches,
                        const Block<T>* dx, double* products, int64_t rows, int64_t columns, bool streamed,
                        T* room) {
  using C = compute_t<T>;
  const int64_t tile = rows * columns;
  const Block<const T> g = packed(grad, rows, columns, room);
  for (int64_t k = 0; k < branches; ++k) {
    const Block<const T> from = packed(x[k], rows, columns, room + tile);
    const Block<T> to = written(dx[k], columns, streamed, room + 2 * tile);
    const Wrapped wrap = wrapped(rows, columns, 1,
                                 dense_rows(g, rows, columns) && dense_rows(from, rows, columns) &&
                                     dense_rows(to, rows, columns));
    const C weight = static_cast<C>(weights[k]);
    C sums[kColumns] = {};
    wrap.each_row([&](int64_t run, int64_t begin, int64_t count) {
      const T* BF_RESTRICT in = from.data + run * from.row + begin;
      const T* BF_RESTRICT gradient = g.data + run * g.row + begin;
      T* BF_RESTRICT out = to.data + run * to.row + begin;
#pragma GCC ivdep
      for (int64_t j = 0; j < count; ++j) {
        const C element = to_float(gradient[j]);
        out[j] = from_float<T>(mixed_sum_d_branch<C>(element, weight));
        sums[j] += mixed_sum_d_weight<C>(element, to_float(in[j]));
      }
    });
    fold_sums(sums, wrap.width, 1, products + k);
    deliver(to, dx[k], rows, columns, streamed);
  }
  stream_fence();
}

#define BF_INSTANTIATE(T, C)                                                                                          \
  template void mixed_sum<T, C>(const Block<const T>*, const double*, int64_t, T*, int64_t, int64_t, T*, C*);         \
  template void mixed_sum_backward<T>(Block<const T>, const Block<const T>*, const double*, int64_t, const Block<T>*, \
                                      double*, int64_t, int64_t, bool, T*);
BF_INSTANTIATE(float, float)
BF_INSTANTIATE(double, double)
BF_INSTANTIATE(bfloat16, float)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
