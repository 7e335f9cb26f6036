#include "mixed_norm_sum.h"

#include "../core/bfloat16.h"
#include "../core/mixed_norm_sum.h"
#include "columns.inl"

namespace base_fast {
namespace BF_ISA {

// Elements of a wrapped block that fall on a column.
struct Counts {
  int64_t full;   // columns [0, more) have `full + runs`, the others `full`
  int64_t more;
  int64_t runs;

  explicit Counts(const Wrapped& wrap)
      : full(wrap.runs * (wrap.length / wrap.width)), more(wrap.length % wrap.width), runs(wrap.runs) {}
  double at(int64_t column) const { return static_cast<double>(column < more ? full + runs : full); }
};

template <class C>
struct NormTables {
  C mean[kColumns];
  C scale[kColumns];
};

// sums[j] = (first ? start[j] : sums[j]) + Σ of N branches.
template <int N, bool first, class T, class C>
inline void add_normed(const T* const* x, const NormTables<C>* tables, const C* start, C* sums, int64_t count) {
  const T *x0 = x[0], *x1 = x[N > 1], *x2 = x[N > 2 ? 2 : 0], *x3 = x[N > 3 ? 3 : 0];
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    C sum = first ? start[j] : sums[j];
    sum = norm_sum_term<C>(sum, tables[0].scale[j], tables[0].mean[j], to_float(x0[j]));
    if (N > 1) sum = norm_sum_term<C>(sum, tables[1].scale[j], tables[1].mean[j], to_float(x1[j]));
    if (N > 2) sum = norm_sum_term<C>(sum, tables[2].scale[j], tables[2].mean[j], to_float(x2[j]));
    if (N > 3) sum = norm_sum_term<C>(sum, tables[3].scale[j], tables[3].mean[j], to_float(x3[j]));
    sums[j] = sum;
  }
}

template <bool first, class T, class C>
inline void add_normed_group(int group, const T* const* x, const NormTables<C>* tables, const C* start, C* sums,
                             int64_t count) {
  switch (group) {
    case 1: return add_normed<1, first>(x, tables, start, sums, count);
    case 2: return add_normed<2, first>(x, tables, start, sums, count);
    case 3: return add_normed<3, first>(x, tables, start, sums, count);
    default: return add_normed<4, first>(x, tables, start, sums, count);
  }
}

template <class T>
void norm_moments(Block<const T> x, int64_t rows, int64_t columns, int64_t channels, double* means, double* squares,
                  T* room) {
  using C = compute_t<T>;
  const Block<const T> from = packed(x, rows, columns, room);
  const Wrapped wrap = wrapped(rows, columns, channels, dense_rows(from, rows, columns));
  // Sums of differences from the column's first element, which lies within the data: nothing large cancels.
  C centre[kColumns], sum[kColumns] = {}, square[kColumns] = {};
  for (int64_t j = 0; j < wrap.width; ++j) centre[j] = to_float(from.data[j]);
  wrap.each_row([&](int64_t run, int64_t begin, int64_t count) {
    const T* in = from.data + run * from.row + begin;
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) {
      const C difference = to_float(in[j]) - centre[j];
      sum[j] += difference;
      square[j] += difference * difference;
    }
  });
  // The columns of a channel are merged as in Chan et al. 1983.
  const Counts counts(wrap);
  double mean[kColumns], weighted[kColumns], apart[kColumns];
  for (int64_t j = 0; j < wrap.width; ++j) {
    const double count = counts.at(j), s = sum[j];
    mean[j] = centre[j] + s / count;
    apart[j] = square[j] - s * s / count;
    weighted[j] = mean[j] * count;
  }
  fold(weighted, wrap.width, channels);
  const double all = static_cast<double>(rows * columns / channels);
  for (int64_t c = 0; c < channels; ++c) means[c] = weighted[c] / all;
  double total[kColumns];
  for (int64_t c = 0; c < channels; ++c) total[c] = means[c];
  spread(total, wrap.width, channels);
  for (int64_t j = 0; j < wrap.width; ++j) apart[j] += counts.at(j) * (mean[j] - total[j]) * (mean[j] - total[j]);
  fold(apart, wrap.width, channels);
  for (int64_t c = 0; c < channels; ++c) squares[c] = apart[c];
}

template <class T, class C>
void mixed_norm_sum(const Block<const T>* x, const double* weights, int64_t branches, const double* means,
                    const double* rstds, int64_t stride, Block<T> y, int64_t rows, int64_t columns, int64_t channels,
                    T* room, C* sums) {
  constexpr int at_once = 4;
  const int64_t tile = rows * columns;
  double rest[kColumns] = {};
  for (int64_t k = 0; k < branches; ++k) {
    for (int64_t c = 0; c < channels; ++c) {
      rest[c] += norm_term<C>(weights[k], means[k * stride + c], rstds[k * stride + c]).rest;
    }
  }
  for (int64_t k = 0; k < branches; k += at_once) {
    const int group = branches - k < at_once ? static_cast<int>(branches - k) : at_once;
    Block<const T> blocks[at_once] = {};
    bool dense = true;
    for (int m = 0; m < group; ++m) {
      blocks[m] = packed(x[k + m], rows, columns, room + m * tile);
      dense = dense && dense_rows(blocks[m], rows, columns);
    }
    const Wrapped wrap = wrapped(rows, columns, channels, dense);
    NormTables<C> tables[at_once];
    C start[kColumns];
    for (int64_t c = 0; c < channels; ++c) start[c] = static_cast<C>(rest[c]);
    spread(start, wrap.width, channels);
    for (int m = 0; m < group; ++m) {
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t at = (k + m) * stride + c;
        const NormTerm<C> term = norm_term<C>(weights[k + m], means[at], rstds[at]);
        tables[m].mean[c] = term.mean;
        tables[m].scale[c] = term.scale;
      }
      spread(tables[m].mean, wrap.width, channels);
      spread(tables[m].scale, wrap.width, channels);
    }
    wrap.each_row([&](int64_t run, int64_t begin, int64_t count) {
      const T* from[at_once] = {};
      for (int m = 0; m < group; ++m) from[m] = blocks[m].data + run * blocks[m].row + begin;
      C* to = sums + run * wrap.length + begin;
      if (k == 0) {
        add_normed_group<true>(group, from, tables, start, to, count);
      } else {
        add_normed_group<false>(group, from, tables, start, to, count);
      }
    });
  }
  const Block<T> to = written(y, columns, false, room);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) to.data[i * to.row + j] = from_float<T>(sums[i * columns + j]);
  }
  deliver(to, y, rows, columns, false);
}

template <class T, class X>
void norm_products(Block<const T> grad, const Block<const X>* x, int64_t branches, const double* means, int64_t stride,
                   double* products, int64_t rows, int64_t columns, int64_t channels, T* room_t, X* room_x) {
  using C = compute_t<T>;
  const Block<const T> g = packed(grad, rows, columns, room_t);
  {
    const Wrapped wrap = wrapped(rows, columns, channels, dense_rows(g, rows, columns));
    C sums[kColumns] = {};
    wrap.each_row([&](int64_t run, int64_t begin, int64_t count) {
      const T* gradient = g.data + run * g.row + begin;
      for (int64_t j = 0; j < count; ++j) sums[j] += to_float(gradient[j]);
    });
    fold_sums(sums, wrap.width, channels, products);
  }
  for (int64_t k = 0; k < branches; ++k) {
    const Block<const X> from = packed(x[k], rows, columns, room_x);
    const Wrapped wrap =
        wrapped(rows, columns, channels, dense_rows(g, rows, columns) && dense_rows(from, rows, columns));
    C mean[kColumns], sums[kColumns] = {};
    for (int64_t c = 0; c < channels; ++c) mean[c] = static_cast<C>(means[k * stride + c]);
    spread(mean, wrap.width, channels);
    wrap.each_row([&](int64_t run, int64_t begin, int64_t count) {
      const T* gradient = g.data + run * g.row + begin;
      const X* in = from.data + run * from.row + begin;
#pragma GCC ivdep
      for (int64_t j = 0; j < count; ++j) sums[j] += to_float(gradient[j]) * (to_float(in[j]) - mean[j]);
    });
    fold_sums(sums, wrap.width, channels, products + (k + 1) * channels);
  }
}

template <class T, class X>
void norm_d_branches(Block<const T> grad, const Block<const X>* x, const double* weights, const bool* normalized,
                     int64_t branches, const double* means, const double* rstds, const double* grad_averages,
                     const double* product_averages, int64_t stride, const Block<T>* dx, int64_t rows, int64_t columns,
                     int64_t channels, bool streamed, T* room_t, X* room_x) {
  using C = compute_t<T>;
  const Block<const T> g = packed(grad, rows, columns, room_t);
  for (int64_t k = 0; k < branches; ++k) {
    // A branch that is not normalized is not read: an infinity in it is no concern of its gradient.
    const Block<const X> from =
        normalized[k] ? packed(x[k], rows, columns, room_x) : Block<const X>{nullptr, columns, 1};
    const Block<T> to = written(dx[k], columns, streamed, room_t + rows * columns);
    const Wrapped wrap = wrapped(rows, columns, channels,
                                 dense_rows(g, rows, columns) && dense_rows(from, rows, columns) &&
                                     dense_rows(to, rows, columns));
    C mean[kColumns], scale[kColumns], slope[kColumns], shift[kColumns];
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t at = k * stride + c;
      const NormGradient<C> gradient =
          norm_gradient<C>(weights[k], means[at], rstds[at], grad_averages[c], product_averages[at]);
      mean[c] = gradient.mean;
      scale[c] = normalized[k] ? gradient.scale : static_cast<C>(weights[k]);
      slope[c] = gradient.slope;
      shift[c] = gradient.shift;
    }
    for (C* table : {mean, scale, slope, shift}) spread(table, wrap.width, channels);
    wrap.each_row([&](int64_t run, int64_t begin, int64_t count) {
      const T* gradient = g.data + run * g.row + begin;
      T* out = to.data + run * to.row + begin;
      if (normalized[k]) {
        const X* in = from.data + run * from.row + begin;
#pragma GCC ivdep
        for (int64_t j = 0; j < count; ++j) {
          out[j] = from_float<T>(
              norm_d_branch<C>(scale[j], slope[j], mean[j], shift[j], to_float(gradient[j]), to_float(in[j])));
        }
      } else {
#pragma GCC ivdep
        for (int64_t j = 0; j < count; ++j) out[j] = from_float<T>(scale[j] * to_float(gradient[j]));
      }
    });
    deliver(to, dx[k], rows, columns, streamed);
  }
  stream_fence();
}

#define BF_INSTANTIATE(T, C)                                                                                       \
  template void norm_moments<T>(Block<const T>, int64_t, int64_t, int64_t, double*, double*, T*);                  \
  template void mixed_norm_sum<T, C>(const Block<const T>*, const double*, int64_t, const double*, const double*,  \
                                     int64_t, Block<T>, int64_t, int64_t, int64_t, T*, C*);
BF_INSTANTIATE(float, float)
BF_INSTANTIATE(double, double)
BF_INSTANTIATE(bfloat16, float)
#undef BF_INSTANTIATE

#define BF_INSTANTIATE(T, X)                                                                                          \
  template void norm_products<T, X>(Block<const T>, const Block<const X>*, int64_t, const double*, int64_t, double*,  \
                                    int64_t, int64_t, int64_t, T*, X*);                                               \
  template void norm_d_branches<T, X>(Block<const T>, const Block<const X>*, const double*, const bool*, int64_t,     \
                                      const double*, const double*, const double*, const double*, int64_t,            \
                                      const Block<T>*, int64_t, int64_t, int64_t, bool, T*, X*);
BF_INSTANTIATE(float, float)
BF_INSTANTIATE(double, double)
BF_INSTANTIATE(bfloat16, bfloat16)
BF_INSTANTIATE(float, bfloat16)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
