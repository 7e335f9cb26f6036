// 3×3 maximum and average, padding 1, padded pixels not counted: both, or the one that is wanted, from one read.
#pragma once

#include "../isa/vector.h"
#include "images.h"

namespace base_fast {
namespace BF_ISA {
namespace blocked {

// The larger where neither is NaN, in one instruction.
BF_INLINE Vec<float> maximum(Vec<float> a, Vec<float> b) {
#if BF_VECTOR_BYTES == 64
  return _mm512_max_ps(a, b);
#elif BF_VECTOR_BYTES == 32
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
BF_INLINE Vec<double> maximum(Vec<double> a, Vec<double> b) {
#if BF_VECTOR_BYTES == 64
  return _mm512_max_pd(a, b);
#elif BF_VECTOR_BYTES == 32
  return _mm256_max_pd(a, b);
#else
  return a > b ? a : b;
#endif
}
// NaN where either is.
template <class V>
BF_INLINE V larger(V a, V b) {
  return ((a > b) | (a != a)) ? a : b;
}

template <bool Careful, class V>
BF_INLINE V higher(V a, V b) {
  return Careful ? larger(a, b) : maximum(a, b);
}

// Which of the two are wanted.
enum class Pools { maximum, average, both };
inline Pools pools_of(bool max_pool, bool avg_pool) {
  return max_pool && avg_pool ? Pools::both : max_pool ? Pools::maximum : Pools::average;
}

// One part of row i of the pools. Returns whether a NaN may be among the values: only then must maxima be Careful.
template <class T, int S, bool Careful, Pools P>
BF_INLINE bool pool_part(const PoolShape& shape, const View<T>& x, int64_t b, int64_t i, int part, T* maxima,
                         T* averages) {
  alignas(64) static constexpr T kZeros[kBlock] = {};
  constexpr bool kMaximum = P != Pools::average, kAverage = P != Pools::maximum;
  const int64_t top = S * i - 1, width = shape.width;
  // A missing row repeats the middle one for the maximum, and counts as zeros for the sum.
  const bool above = top >= 0, below = top + 2 < shape.height;
  const T* mid = x.at(b, (top + 1) * width) + part;
  const T* up = above ? x.at(b, top * width) + part : mid;
  const T* down = below ? x.at(b, (top + 2) * width) + part : mid;
  const T* up_sum = above ? up : kZeros;
  const T* down_sum = below ? down : kZeros;
  const int64_t up_step = above ? x.pixel : 0, down_step = below ? x.pixel : 0;
  const T rows = T(1 + above + below);
  const Vec<T> inner = all(T(1) / (rows * 3)), outer = all(T(1) / (rows * 2)), only = all(T(1) / rows);

  struct Column {
    Vec<T> high, sum;
  };
  const auto column = [&](int64_t j) __attribute__((always_inline)) {
    const Vec<T> m = load(mid + j * x.pixel), u = load(up + j * x.pixel), d = load(down + j * x.pixel);
    const Vec<T> sum = (load(up_sum + j * up_step) + m) + load(down_sum + j * down_step);
    return Column{kMaximum ? higher<Careful>(higher<Careful>(m, u), d) : m, sum};
  };
  Ints<T> nans = {};
  const auto put = [&](int64_t j, Vec<T> high, Vec<T> sum, Vec<T> share) __attribute__((always_inline)) {
    if (kMaximum && !Careful) nans |= sum != sum;
    if (kMaximum) store(maxima + j * kBlock + part, high);
    if (kAverage) store(averages + j * kBlock + part, sum * share);
  };
  // Columns S·j − 1 to S·j + 1: the first output lacks the left one, the last may lack the right one.
  Column left = column(0);
  int64_t j = 0;
  if (width == 1) {
    put(0, left.high, left.sum, only);
  } else {
    Column mid_column = left, right = column(1);
    put(0, higher<Careful>(mid_column.high, right.high), mid_column.sum + right.sum, outer);
    for (j = 1; S * j + 1 < width; ++j) {
      left = S == 1 ? mid_column : right;
      mid_column = S == 1 ? right : column(S * j);
      right = column(S * j + 1);
      const Vec<T> high = higher<Careful>(higher<Careful>(left.high, mid_column.high), right.high);
      put(j, high, (left.sum + mid_column.sum) + right.sum, inner);
    }
    if (j < shape.out_width) {
      left = S == 1 ? mid_column : right;
      mid_column = S == 1 ? right : column(S * j);
      put(j, higher<Careful>(left.high, mid_column.high), left.sum + mid_column.sum, outer);
    }
  }
  return any(nans);
}

template <class T, int S, Pools P>
void pool_rows_of(const PoolShape& shape, const View<T>& x, int64_t b, int64_t begin, int64_t end, T* maxima,
                  T* averages) {
  for (int64_t i = begin; i < end; ++i) {
    for (int part = 0; part < kBlock; part += kWidth<T>) {
      if (pool_part<T, S, false, P>(shape, x, b, i, part, maxima, averages))
        pool_part<T, S, true, P>(shape, x, b, i, part, maxima, averages);
    }
    maxima += shape.out_width * kBlock;
    averages += shape.out_width * kBlock;
  }
}

// f of S, the stride, and P, the pools that are wanted, as constants.
template <class F>
auto with_pools(int stride, Pools pools, const F& f) {
  const auto strided = [&](auto s) {
    switch (pools) {
      case Pools::maximum: return f(s, std::integral_constant<Pools, Pools::maximum>{});
      case Pools::average: return f(s, std::integral_constant<Pools, Pools::average>{});
      default: return f(s, std::integral_constant<Pools, Pools::both>{});
    }
  };
  return stride == 1 ? strided(std::integral_constant<int, 1>{}) : strided(std::integral_constant<int, 2>{});
}

// Rows [begin, end) of the pools of block b, dense.
template <class T>
void pool_rows(const PoolShape& shape, Pools pools, const View<T>& x, int64_t b, int64_t begin, int64_t end, T* maxima,
               T* averages) {
  with_pools(shape.stride, pools, [&](auto s, auto p) {
    pool_rows_of<T, decltype(s)::value, decltype(p)::value>(shape, x, b, begin, end, maxima, averages);
  });
}

// Three pixels of a column of a window: the maximum, where it is (3·row, and + column once it is known), and the sum.
template <class T>
struct Column {
  Vec<T> high;
  Ints<T> at;
  Vec<T> sum;
};

// Of two parts of a window the one whose maximum counts: the higher, of equals the first, of NaNs the last. `Later`:
// the second comes after the first everywhere, which saves comparing where they are.
template <class T, bool Careful, bool Later>
BF_INLINE void raise(Column<T>& a, Vec<T> high, Ints<T> at) {
  Ints<T> better = high > a.high;
  if (!Later) better |= (high == a.high) & (at < a.at);
  if (Careful) better |= Later ? high != high : (high != high) & ((a.high == a.high) | (at > a.at));
  a.at = better ? at : a.at;
  a.high = Careful ? (better ? high : a.high) : maximum(a.high, high);
}

template <class T>
struct Gradients {
  Vec<T> maximum, average;
};

// Output row i's gradients to the three input rows of its windows: the maximum's to the first pixel that attains it, or
// to the last NaN, the average's to all. `gradients(part)(j, maximum, average)` gives both of output j. Rows of x are
// padded by a pixel of −∞, which nothing exceeds, rows of dx by one that nobody reads; those that no window has reached
// before are written, whatever they hold. `Careful`: x may hold NaN.
template <class T, int S, bool Careful, Pools P, class F>
BF_INLINE void scatter_row_of(int64_t height, int64_t width, int64_t i, const T* const x[3], T* const dx[3],
                              const F& gradients) {
  alignas(64) static constexpr T kZeros[kBlock] = {};
  constexpr bool kMaximum = P != Pools::average, kAverage = P != Pools::maximum;
  const int64_t columns = (width + S - 1) / S;
  const bool above = i > 0, below = S * i + 1 < height;
  const T rows = T(1 + above + below);
  const Vec<T> inner = all(T(1) / (rows * 3)), outer = all(T(1) / (rows * 2)), only = all(T(1) / rows);
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    // Column c of the padded rows.
    const auto column = [&](int64_t c) __attribute__((always_inline)) {
      const int64_t p = c * kBlock + part;
      Column<T> all_rows{load(x[0] + p), Ints<T>{} + (above ? 0 : 3), {}};
      if (kMaximum) {
        raise<T, Careful, true>(all_rows, load(x[1] + p), Ints<T>{} + 3);
        raise<T, Careful, true>(all_rows, load(x[2] + p), Ints<T>{} + 6);
      }
      if (kAverage) all_rows.sum = (load(above ? x[0] + p : kZeros) + load(x[1] + p)) + load(below ? x[2] + p : kZeros);
      return all_rows;
    };
    const auto of_output = gradients(part);
    const auto put = [&](int r, T* to, Vec<T> more) __attribute__((always_inline)) {
      const bool fresh = r > (S == 1 ? 1 : 0);
      store(to, fresh ? more : load(to) + more);
    };
    // What the columns of a window have gathered so far: they leave as the window moves on.
    Vec<T> sum[3][3] = {}, evens[3] = {};
    Column<T> left = column(0), mid = column(1), right = column(2);
    for (int64_t j = 0; j < columns; ++j) {
      const bool has_left = j > 0, has_right = S * j + 1 < width;
      Column<T> best = mid;
      best.at += 1;
      if (has_left) {
        if (kMaximum) raise<T, Careful, false>(best, left.high, left.at);
        best.sum += left.sum;
      }
      if (has_right) {
        if (kMaximum) raise<T, Careful, false>(best, right.high, right.at + 2);
        best.sum += right.sum;
      }
      const Vec<T> share = has_left && has_right ? inner : has_left || has_right ? outer : only;
      const auto [high, average] = of_output(j, best.high, best.sum * share);
      const Vec<T> even = average * share;
#pragma GCC unroll 3
      for (int c = 0; c < 3 && kAverage; ++c) evens[c] += even;
#pragma GCC unroll 3
      for (int r = 0; r < 3; ++r) {
        T* to = dx[r] + S * j * kBlock + part;
#pragma GCC unroll 3
        for (int c = 0; c < 3 && kMaximum; ++c) sum[r][c] = best.at == 3 * r + c ? sum[r][c] + high : sum[r][c];
        put(r, to, sum[r][0] + evens[0]);
        if (S == 2) put(r, to + kBlock, sum[r][1] + evens[1]);
        sum[r][0] = sum[r][S];
        sum[r][1] = S == 1 ? sum[r][2] : Vec<T>{};
        sum[r][2] = Vec<T>{};
      }
      evens[0] = evens[S];
      evens[1] = S == 1 ? evens[2] : Vec<T>{};
      evens[2] = Vec<T>{};
      if (j + 1 == columns) break;
      left = S == 1 ? mid : right;
      mid = S == 1 ? right : column(2 * j + 3);
      right = column(S * (j + 1) + 2);
    }
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      T* to = dx[r] + S * columns * kBlock + part;
      put(r, to, sum[r][0] + evens[0]);
      if (S == 1) put(r, to + kBlock, sum[r][1] + evens[1]);
    }
  }
}

template <class T, class F>
void scatter_row(int64_t height, int64_t width, int stride, Pools pools, bool careful, int64_t i, const T* const x[3],
                 T* const dx[3], const F& gradients) {
  with_pools(stride, pools, [&](auto s, auto p) {
    constexpr int S = decltype(s)::value;
    constexpr Pools P = decltype(p)::value;
    if (careful && P != Pools::average) return scatter_row_of<T, S, true, P>(height, width, i, x, dx, gradients);
    scatter_row_of<T, S, false, P>(height, width, i, x, dx, gradients);
  });
}

}  // namespace blocked
}  // namespace BF_ISA
}  // namespace base_fast
