// Products over channels: out = in·W, and the gradient of W.
namespace base_fast {
namespace BF_ISA {
namespace edge {

// N pixels × M blocks of output channels.
template <class T, int N, int M>
BF_INLINE void product_tile(const T* in, int64_t in_block, int64_t blocks, const T* w, int64_t w_block, T* out,
                            int64_t out_block) {
  constexpr int P = kParts<T>;
  Vec<T> sum[N][M * P];
#pragma GCC unroll 16
  for (int j = 0; j < N; ++j) {
#pragma GCC unroll 16
    for (int m = 0; m < M * P; ++m) sum[j][m] = Vec<T>{};
  }
  for (int64_t b = 0; b < blocks; ++b, in += in_block, w += kBlock * kBlock) {
#pragma GCC unroll 4
    for (int c = 0; c < kBlock; ++c) {
      Vec<T> weight[M * P];
#pragma GCC unroll 16
      for (int m = 0; m < M * P; ++m) weight[m] = load(w + c * kBlock + (m / P) * w_block + (m % P) * kWidth<T>);
#pragma GCC unroll 16
      for (int j = 0; j < N; ++j) {
        const Vec<T> x = all(in[j * kBlock + c]);
#pragma GCC unroll 16
        for (int m = 0; m < M * P; ++m) sum[j][m] = fma(weight[m], x, sum[j][m]);
      }
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < N; ++j) {
#pragma GCC unroll 16
    for (int m = 0; m < M * P; ++m)
      store(out + (m / P) * out_block + j * kBlock + (m % P) * kWidth<T>, sum[j][m]);
  }
}

template <class T, int N, int M>
BF_INLINE void product_pixels(const T* in, int64_t in_block, int64_t blocks, const T* w, int64_t w_block, T* out,
                              int64_t out_block, int64_t pixels) {
  int64_t j = 0;
  for (; j + N <= pixels; j += N)
    product_tile<T, N, M>(in + j * kBlock, in_block, blocks, w, w_block, out + j * kBlock, out_block);
  if constexpr (N > 8) {
    for (; j + 8 <= pixels; j += 8)
      product_tile<T, 8, M>(in + j * kBlock, in_block, blocks, w, w_block, out + j * kBlock, out_block);
  }
  if constexpr (N > 4) {
    for (; j + 4 <= pixels; j += 4)
      product_tile<T, 4, M>(in + j * kBlock, in_block, blocks, w, w_block, out + j * kBlock, out_block);
  }
  for (; j < pixels; ++j)
    product_tile<T, 1, M>(in + j * kBlock, in_block, blocks, w, w_block, out + j * kBlock, out_block);
}

// out[o][pixel] = Σ_c w[o][c]·in[c][pixel] for `blocks` blocks of both; w as [out block][in][16].
template <class T>
void product(const T* in, int64_t in_block, int64_t blocks, const T* w, T* out, int64_t out_block, int64_t pixels) {
  constexpr int N = (kRegisters == 32 ? 16 : 8) / kParts<T> < 1 ? 1 : (kRegisters == 32 ? 16 : 8) / kParts<T>;
  const int64_t w_block = blocks * kBlock * kBlock;
  int64_t o = 0;
  if constexpr (kRegisters == 32 && kParts<T> == 1) {
    if (blocks == 3) return product_pixels<T, 8, 3>(in, in_block, blocks, w, w_block, out, out_block, pixels);
    for (; o + 2 <= blocks; o += 2)
      product_pixels<T, 8, 2>(in, in_block, blocks, w + o * w_block, w_block, out + o * out_block, out_block, pixels);
  }
  for (; o < blocks; ++o)
    product_pixels<T, N, 1>(in, in_block, blocks, w + o * w_block, w_block, out + o * out_block, out_block, pixels);
}

// M output channels × L blocks of input channels; sums stay in registers over the pixels.
template <class T, int M, int L>
BF_INLINE void outer_tile(const T* g, const T* in, int64_t in_block, T* dw, int64_t dw_block, int64_t pixels) {
  constexpr int P = kParts<T>;
  Vec<T> sum[M][L * P];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 16
    for (int l = 0; l < L * P; ++l) sum[m][l] = Vec<T>{};
  }
  for (int64_t j = 0; j < pixels; ++j, g += kBlock, in += kBlock) {
    Vec<T> x[L * P];
#pragma GCC unroll 16
    for (int l = 0; l < L * P; ++l) x[l] = load(in + (l / P) * in_block + (l % P) * kWidth<T>);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const Vec<T> gradient = all(g[m]);
#pragma GCC unroll 16
      for (int l = 0; l < L * P; ++l) sum[m][l] = fma(x[l], gradient, sum[m][l]);
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 16
    for (int l = 0; l < L * P; ++l) {
      T* to = dw + m * kBlock + (l / P) * dw_block + (l % P) * kWidth<T>;
      store(to, load(to) + sum[m][l]);
    }
  }
}

// dw[c][o] += Σ_pixel in[c][pixel]·g[o][pixel]; dw as [in block][out][16].
template <class T>
void outer(const T* g, int64_t g_block, const T* in, int64_t in_block, int64_t blocks, T* dw, int64_t pixels) {
  constexpr int M = (kRegisters == 32 ? 16 : 8) / kParts<T> < 1 ? 1 : (kRegisters == 32 ? 16 : 8) / kParts<T>;
  const int64_t dw_block = blocks * kBlock * kBlock;
  for (int64_t o = 0; o < blocks; ++o) {
    const T* go = g + o * g_block;
    T* to = dw + o * kBlock * kBlock;
    int64_t c = 0;
    if constexpr (kRegisters == 32 && kParts<T> == 1) {
      if (blocks == 3) {
        for (int m = 0; m < kBlock; m += 8)
          outer_tile<T, 8, 3>(go + m, in, in_block, to + m * kBlock, dw_block, pixels);
        continue;
      }
      for (; c + 2 <= blocks; c += 2) {
        for (int m = 0; m < kBlock; m += 8)
          outer_tile<T, 8, 2>(go + m, in + c * in_block, in_block, to + m * kBlock + c * dw_block, dw_block, pixels);
      }
    }
    for (; c < blocks; ++c) {
      for (int m = 0; m < kBlock; m += M)
        outer_tile<T, M, 1>(go + m, in + c * in_block, in_block, to + m * kBlock + c * dw_block, dw_block, pixels);
    }
  }
}

}  // namespace edge
}  // namespace BF_ISA
}  // namespace base_fast
