// Depthwise convolutions of one block of channels, and the gradient of their weights.
namespace base_fast {
namespace BF_ISA {
namespace edge {

// N neighbouring outputs: every input that is loaded serves all the taps of a row that it meets.
template <class T, int K, int S, int D, int N>
BF_INLINE void correlate_tile(const T* in, int64_t row, int rows, const T* w, T* out, int64_t step, bool add) {
  Vec<T> sum[N];
#pragma GCC unroll 16
  for (int j = 0; j < N; ++j) sum[j] = add ? load(out + j * step) : Vec<T>{};
  for (int t = 0; t < rows; ++t, in += row, w += K * kBlock) {
#pragma GCC unroll 8
    for (int u = 0; u < K; ++u) {
      const Vec<T> weight = load(w + u * kBlock);
#pragma GCC unroll 16
      for (int j = 0; j < N; ++j) sum[j] = fma(weight, load(in + (j * S + u * D) * kBlock), sum[j]);
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < N; ++j) store(out + j * step, sum[j]);
}

// out[j] (+)= Σ_tu w[t][u]·in[t·row + j·S + u·D] for a row of `count` outputs, `step` elements apart.
template <class T, int K, int S, int D>
void correlate_row(const T* in, int64_t row, int rows, const T* w, T* out, int64_t step, int64_t count, bool add) {
  constexpr int N = kRegisters == 32 ? 16 : 4;
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const T* i = in + part;
    T* o = out + part;
    int64_t left = count;
    for (; left >= N; left -= N, i += N * S * kBlock, o += N * step)
      correlate_tile<T, K, S, D, N>(i, row, rows, w + part, o, step, add);
    if (left >= 8 && N > 8) {
      correlate_tile<T, K, S, D, 8>(i, row, rows, w + part, o, step, add);
      left -= 8, i += 8 * S * kBlock, o += 8 * step;
    }
    if (left >= 4 && N > 4) {
      correlate_tile<T, K, S, D, 4>(i, row, rows, w + part, o, step, add);
      left -= 4, i += 4 * S * kBlock, o += 4 * step;
    }
    if (left >= 2) {
      correlate_tile<T, K, S, D, 2>(i, row, rows, w + part, o, step, add);
      left -= 2, i += 2 * S * kBlock, o += 2 * step;
    }
    if (left > 0) correlate_tile<T, K, S, D, 1>(i, row, rows, w + part, o, step, add);
  }
}

template <class T>
using CorrelateRow = void (*)(const T*, int64_t, int, const T*, T*, int64_t, int64_t, bool);

template <class T>
CorrelateRow<T> correlate_of(int kernel, int stride, int dilation) {
  if (dilation == 2) {
    if (stride == 2) return kernel == 3 ? &correlate_row<T, 3, 2, 2> : &correlate_row<T, 5, 2, 2>;
    return kernel == 3 ? &correlate_row<T, 3, 1, 2> : &correlate_row<T, 5, 1, 2>;
  }
  if (stride == 2) {
    return kernel == 3   ? &correlate_row<T, 3, 2, 1>
           : kernel == 5 ? &correlate_row<T, 5, 2, 1>
                         : &correlate_row<T, 7, 2, 1>;
  }
  switch (kernel) {
    case 1:
      return &correlate_row<T, 1, 1, 1>;
    case 2:
      return &correlate_row<T, 2, 1, 1>;
    case 3:
      return &correlate_row<T, 3, 1, 1>;
    case 4:
      return &correlate_row<T, 4, 1, 1>;
    case 5:
      return &correlate_row<T, 5, 1, 1>;
    default:
      return &correlate_row<T, 7, 1, 1>;
  }
}

// G rows of taps: their sums stay in registers over the whole image.
template <class T, int K, int S, int D, int G>
BF_INLINE void weight_gradient_taps(const T* in, int64_t in_row, const T* g, int64_t g_row, int64_t rows,
                                    int64_t columns, T* dw) {
  Vec<T> sum[G * K];
#pragma GCC unroll 32
  for (int t = 0; t < G * K; ++t) sum[t] = Vec<T>{};
  for (int64_t i = 0; i < rows; ++i) {
    const T* p = in + i * S * in_row;
    const T* q = g + i * g_row;
    for (int64_t j = 0; j < columns; ++j, p += S * kBlock, q += kBlock) {
      const Vec<T> gradient = load(q);
      // Loads shared with the next pixel would need more registers than there are.
      asm volatile("" ::: "memory");
#pragma GCC unroll 8
      for (int t = 0; t < G; ++t) {
#pragma GCC unroll 8
        for (int u = 0; u < K; ++u)
          sum[t * K + u] = fma(gradient, load(p + t * D * in_row + u * D * kBlock), sum[t * K + u]);
      }
    }
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
  if (dilation == 2) {
    if (stride == 2) return kernel == 3 ? &weight_gradient<T, 3, 2, 2> : &weight_gradient<T, 5, 2, 2>;
    return kernel == 3 ? &weight_gradient<T, 3, 1, 2> : &weight_gradient<T, 5, 1, 2>;
  }
  if (stride == 2) {
    return kernel == 3   ? &weight_gradient<T, 3, 2, 1>
           : kernel == 5 ? &weight_gradient<T, 5, 2, 1>
                         : &weight_gradient<T, 7, 2, 1>;
  }
  return kernel == 3   ? &weight_gradient<T, 3, 1, 1>
         : kernel == 5 ? &weight_gradient<T, 5, 1, 1>
                       : &weight_gradient<T, 7, 1, 1>;
}

}  // namespace edge
}  // namespace BF_ISA
}  // namespace base_fast
