// Depthwise convolutions of one block of channels, and the gradient of their weights.
#pragma once

#include "../isa/vector.h"
#include "filters.h"
#include "layout.h"

namespace base_fast {
namespace BF_ISA {
namespace blocked {

using namespace simd;

// What one row of input adds to rows [From, To) of a tile of outputs: an input is loaded once for all taps that it
// meets.
template <class T, int K, int S, int D, int N, int From, int To>
BF_INLINE void correlate_line(const T* in, const Vec<T> (*weight)[K], Vec<T> (*sum)[N]) {
#pragma GCC unroll 32
  for (int p = 0; p <= (N - 1) * S + (K - 1) * D; ++p) {
    const Vec<T> x = held(load(in + p * kBlock));
#pragma GCC unroll 2
    for (int q = From; q < To; ++q) {
#pragma GCC unroll 8
      for (int u = K - 1; u >= 0; --u) {
        const int j = (p - u * D) / S;
        if (p >= u * D && (p - u * D) % S == 0 && j < N) sum[q][j] = fma(weight[q][u], x, sum[q][j]);
      }
    }
  }
}

// R × N outputs. Two rows that are one dilation apart share the input rows between.
template <class T, int K, int S, int D, int R, int N, class A>
BF_INLINE void correlate_tile(const T* in, int64_t in_row, int taps, const T* w, T* out, int64_t out_row, int64_t step,
                              bool add, A& prefetch) {
  prefetch();
  Vec<T> sum[R][N], weight[R][K];
#pragma GCC unroll 2
  for (int q = 0; q < R; ++q) {
    const T* from = out + q * D * out_row;
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j, from += step) sum[q][j] = add ? load(from) : Vec<T>{};
  }
  const auto next = [&]() __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int u = 0; u < K; ++u) {
      weight[R - 1][u] = weight[0][u];
      weight[0][u] = held(load(w + u * kBlock));
    }
    w += K * kBlock;
  };
  for (int u = 0; u < K; ++u) weight[0][u] = Vec<T>{};
  int t = 0;
  if constexpr (R == 2) {
    next();
    correlate_line<T, K, S, D, N, 0, 1>(in, weight, sum);
    in += D * in_row, ++t;
  }
  for (; t < taps; ++t, in += D * in_row) {
    next();
    correlate_line<T, K, S, D, N, 0, R>(in, weight, sum);
  }
  if constexpr (R == 2) {
#pragma GCC unroll 8
    for (int u = 0; u < K; ++u) weight[1][u] = weight[0][u];
    correlate_line<T, K, S, D, N, 1, 2>(in, weight, sum);
  }
#pragma GCC unroll 2
  for (int q = 0; q < R; ++q) {
    T* to = out + q * D * out_row;
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j, to += step) store(to, sum[q][j]);
  }
}

template <class T, int K, int S, int D, int R, class A>
BF_INLINE void correlate_width(const T* in, int64_t in_row, int taps, const T* w, T* out, int64_t out_row, int64_t step,
                               int64_t width, bool add, A& prefetch) {
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const T* i = in + part;
    T* o = out + part;
    int64_t left = width;
    for (; left >= 8; left -= 8, i += 8 * S * kBlock, o += 8 * step)
      correlate_tile<T, K, S, D, R, 8>(i, in_row, taps, w + part, o, out_row, step, add, prefetch);
    if (left >= 4) {
      correlate_tile<T, K, S, D, R, 4>(i, in_row, taps, w + part, o, out_row, step, add, prefetch);
      left -= 4, i += 4 * S * kBlock, o += 4 * step;
    }
    if (left >= 2) {
      correlate_tile<T, K, S, D, R, 2>(i, in_row, taps, w + part, o, out_row, step, add, prefetch);
      left -= 2, i += 2 * S * kBlock, o += 2 * step;
    }
    if (left > 0) correlate_tile<T, K, S, D, R, 1>(i, in_row, taps, w + part, o, out_row, step, add, prefetch);
  }
}

// out[i][j] (+)= Σ_tu w[t][u]·in[i·S + t·D][j·S + u·D] for `taps` rows of K taps; outputs are `step` elements apart.
template <class T, int K, int S, int D, class A>
void correlate_rows(const T* in, int64_t in_row, int taps, const T* w, T* out, int64_t out_row, int64_t step,
                    int64_t height, int64_t width, bool add, A& prefetch) {
  constexpr bool kPairs = S == 1 && kRegisters == 32;
  for (int64_t i = 0; i < height; ++i) {
    const T* from = in + i * S * in_row;
    T* to = out + i * out_row;
    if (kPairs && i / D % 2 == 1) continue;
    if constexpr (kPairs) {
      if (i + D < height) {
        correlate_width<T, K, S, D, 2>(from, in_row, taps, w, to, out_row, step, width, add, prefetch);
        continue;
      }
    }
    correlate_width<T, K, S, D, 1>(from, in_row, taps, w, to, out_row, step, width, add, prefetch);
  }
}

// How often that asks for memory prefetch; no more than it does.
inline int64_t correlations(int64_t height, int64_t width) { return (height + 1) / 2 * (width / 8); }

template <class T, class A>
using CorrelateRows = void (*)(const T*, int64_t, int, const T*, T*, int64_t, int64_t, int64_t, int64_t, bool, A&);

// Kernels 1, 2 and 4 are the taps that pixels of one parity meet, see `Parity`.
template <class T, class A>
CorrelateRows<T, A> correlate_of(int kernel, int stride, int dilation) {
  switch (filter_key(kernel, stride, dilation)) {
    case filter_key(1, 1, 1): return &correlate_rows<T, 1, 1, 1, A>;
    case filter_key(2, 1, 1): return &correlate_rows<T, 2, 1, 1, A>;
    case filter_key(3, 1, 1): return &correlate_rows<T, 3, 1, 1, A>;
    case filter_key(4, 1, 1): return &correlate_rows<T, 4, 1, 1, A>;
    case filter_key(5, 1, 1): return &correlate_rows<T, 5, 1, 1, A>;
    case filter_key(7, 1, 1): return &correlate_rows<T, 7, 1, 1, A>;
    case filter_key(3, 2, 1): return &correlate_rows<T, 3, 2, 1, A>;
    case filter_key(5, 2, 1): return &correlate_rows<T, 5, 2, 1, A>;
    case filter_key(7, 2, 1): return &correlate_rows<T, 7, 2, 1, A>;
    case filter_key(3, 1, 2): return &correlate_rows<T, 3, 1, 2, A>;
    case filter_key(5, 1, 2): return &correlate_rows<T, 5, 1, 2, A>;
    case filter_key(3, 2, 2): return &correlate_rows<T, 3, 2, 2, A>;
    case filter_key(5, 2, 2): return &correlate_rows<T, 5, 2, 2, A>;
    default: unknown_filter(kernel, stride, dilation);
  }
}

// What R × P pixels of the gradient add to G rows of taps. A value of the input is loaded once for all pixels and taps
// that bring it together; so that dilated taps share as well, the pixels then lie one dilation apart.
template <class T, int K, int S, int D, int G, int R, int P>
BF_INLINE void weight_gradient_tile(const T* in, int64_t in_row, const T* g, int64_t g_row, Vec<T>* sum) {
  constexpr int kApart = S == 1 && K > 3 ? D : 1, kTap = D / kApart;
  Vec<T> gradient[R][P];
  // Loads shared with the next tile would need more registers than there are.
  asm volatile("" ::: "memory");
#pragma GCC unroll 2
  for (int q = 0; q < R; ++q) {
#pragma GCC unroll 16
    for (int m = 0; m < P; ++m) gradient[q][m] = held(load(g + q * D * g_row + m * kApart * kBlock));
  }
#pragma GCC unroll 32
  for (int p = 0; p <= (P - 1) * S + (K - 1) * kTap; ++p) {
#pragma GCC unroll 8
    for (int r = 0; r < G + R - 1; ++r) {
      const Vec<T> x = held(load(in + r * D * in_row + p * kApart * kBlock));
#pragma GCC unroll 2
      for (int q = 0; q < R; ++q) {
#pragma GCC unroll 8
        for (int u = 0; u < K; ++u) {
          const int t = r - q, m = (p - u * kTap) / S;
          if (t >= 0 && t < G && p >= u * kTap && (p - u * kTap) % S == 0 && m < P)
            sum[t * K + u] = fma(gradient[q][m], x, sum[t * K + u]);
        }
      }
    }
  }
}

template <class T, int K, int S, int D, int G, int R>
BF_INLINE void weight_gradient_width(const T* in, int64_t in_row, const T* g, int64_t g_row, int64_t columns,
                                     Vec<T>* sum) {
  constexpr int kApart = S == 1 && K > 3 ? D : 1, kFree = kRegisters - G * K - 1,
                P = kFree / R >= 8   ? 8
                    : kFree / R >= 4 ? 4
                                     : 2;
  for (int64_t phase = 0; phase < kApart; ++phase) {
    const T *p = in + phase * kBlock, *q = g + phase * kBlock;
    int64_t left = (columns - phase + kApart - 1) / kApart;
    const auto tile = [&](auto pixels) __attribute__((always_inline)) {
      constexpr int N = decltype(pixels)::value;
      weight_gradient_tile<T, K, S, D, G, R, N>(p, in_row, q, g_row, sum);
      p += N * kApart * S * kBlock, q += N * kApart * kBlock, left -= N;
    };
    while (left >= P) tile(std::integral_constant<int, P>{});
    if (P > 4 && left >= 4) tile(std::integral_constant<int, 4>{});
    if (P > 2 && left >= 2) tile(std::integral_constant<int, 2>{});
    if (left > 0) tile(std::integral_constant<int, 1>{});
  }
}

// G rows of taps: their sums stay in registers over the whole image.
template <class T, int K, int S, int D, int G>
BF_INLINE void weight_gradient_taps(const T* in, int64_t in_row, const T* g, int64_t g_row, int64_t rows,
                                    int64_t columns, T* dw) {
  constexpr bool kPairs = S == 1 && kRegisters == 32 && G == K && K == 3;
  Vec<T> sum[G * K];
#pragma GCC unroll 32
  for (int t = 0; t < G * K; ++t) sum[t] = Vec<T>{};
  for (int64_t i = 0; i < rows; ++i) {
    const T* p = in + i * S * in_row;
    const T* q = g + i * g_row;
    if (kPairs && i / D % 2 == 1) continue;
    if constexpr (kPairs) {
      if (i + D < rows) {
        weight_gradient_width<T, K, S, D, G, 2>(p, in_row, q, g_row, columns, sum);
        continue;
      }
    }
    weight_gradient_width<T, K, S, D, G, 1>(p, in_row, q, g_row, columns, sum);
  }
#pragma GCC unroll 32
  for (int t = 0; t < G * K; ++t) store(dw + t * kBlock, load(dw + t * kBlock) + sum[t]);
}

// dw[t][u] += Σ_ij g[i][j]·in[i·S + t·D][j·S + u·D].
template <class T, int K, int S, int D>
void weight_gradient(const T* in, int64_t in_row, const T* g, int64_t g_row, int64_t rows, int64_t columns, T* dw) {
  constexpr int kMost = (kRegisters - 6) / K < 1 ? 1 : (kRegisters - 6) / K;
  constexpr int G = kMost < K ? kMost : K;
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    int t = 0;
    for (; t + G <= K; t += G)
      weight_gradient_taps<T, K, S, D, G>(in + t * D * in_row + part, in_row, g + part, g_row, rows, columns,
                                          dw + t * K * kBlock + part);
    for (; t < K; ++t)
      weight_gradient_taps<T, K, S, D, 1>(in + t * D * in_row + part, in_row, g + part, g_row, rows, columns,
                                          dw + t * K * kBlock + part);
  }
}

template <class T>
using WeightGradient = void (*)(const T*, int64_t, const T*, int64_t, int64_t, int64_t, T*);

template <class T>
WeightGradient<T> weight_gradient_of(int kernel, int stride, int dilation) {
  switch (filter_key(kernel, stride, dilation)) {
    case filter_key(3, 1, 1): return &weight_gradient<T, 3, 1, 1>;
    case filter_key(5, 1, 1): return &weight_gradient<T, 5, 1, 1>;
    case filter_key(7, 1, 1): return &weight_gradient<T, 7, 1, 1>;
    case filter_key(3, 2, 1): return &weight_gradient<T, 3, 2, 1>;
    case filter_key(5, 2, 1): return &weight_gradient<T, 5, 2, 1>;
    case filter_key(7, 2, 1): return &weight_gradient<T, 7, 2, 1>;
    case filter_key(3, 1, 2): return &weight_gradient<T, 3, 1, 2>;
    case filter_key(5, 1, 2): return &weight_gradient<T, 5, 1, 2>;
    case filter_key(3, 2, 2): return &weight_gradient<T, 3, 2, 2>;
    case filter_key(5, 2, 2): return &weight_gradient<T, 5, 2, 2>;
    default: unknown_filter(kernel, stride, dilation);
  }
}

}  // namespace blocked
}  // namespace BF_ISA
}  // namespace base_fast
