// Products over channels between different numbers of them, of chunks in blocks.
namespace base_fast {
namespace BF_ISA {
namespace conv {

template <int N>
using Constant = std::integral_constant<int, N>;

// N pixels × M blocks of output channels.
template <class T, int N, int M>
BF_INLINE void product_tile(const T* in, int64_t in_block, int64_t blocks, const T* w, T* out, int64_t out_block,
                            Ahead& ahead) {
  constexpr int P = kParts<T>;
  const int64_t w_block = blocks * kBlock * kBlock;
  Vec<T> sum[N][M * P];
#pragma GCC unroll 16
  for (int j = 0; j < N; ++j) {
#pragma GCC unroll 16
    for (int m = 0; m < M * P; ++m) sum[j][m] = Vec<T>{};
  }
  for (int64_t b = 0; b < blocks; ++b, in += in_block, w += kBlock * kBlock) {
    ahead();
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
BF_INLINE void product_pixels(const T* in, int64_t in_block, int64_t blocks, const T* w, T* out, int64_t out_block,
                              int64_t pixels, Ahead& ahead) {
  int64_t j = 0;
  for (; j + N <= pixels; j += N)
    product_tile<T, N, M>(in + j * kBlock, in_block, blocks, w, out + j * kBlock, out_block, ahead);
  for (; j < pixels; ++j)
    product_tile<T, 1, M>(in + j * kBlock, in_block, blocks, w, out + j * kBlock, out_block, ahead);
}

// out[o][pixel] = Σ_c w[o][c]·in[c][pixel]; w as [out block][in][16].
template <class T>
void product(const Chunk<T>& in, int64_t in_blocks, const T* w, const Chunk<T>& out, int64_t out_blocks,
             int64_t pixels, Ahead& ahead) {
  constexpr int N = (kRegisters == 32 ? 16 : 8) / kParts<T> < 1 ? 1 : (kRegisters == 32 ? 16 : 8) / kParts<T>;
  ahead.spread(pixels / 8 * in_blocks * ((out_blocks + 1) / 2));
  int64_t o = 0;
  const auto tiles = [&](auto columns, auto blocks) {
    product_pixels<T, columns(), blocks()>(in.base, in.block, in_blocks, w + o * in_blocks * kBlock * kBlock,
                                           out.base + o * out.block, out.block, pixels, ahead);
    o += blocks();
  };
  if constexpr (kRegisters == 32 && kParts<T> == 1) {
    if (out_blocks % 2 == 1 && out_blocks > 1) tiles(Constant<8>{}, Constant<3>{});
    while (o + 2 <= out_blocks) tiles(Constant<8>{}, Constant<2>{});
  }
  while (o < out_blocks) tiles(Constant<N>{}, Constant<1>{});
}

// M output channels × L blocks of input channels; sums stay in registers over the pixels.
template <class T, int M, int L>
BF_INLINE void outer_tile(const T* g, const T* in, int64_t in_block, T* dw, int64_t dw_block, int64_t pixels,
                          Ahead& ahead) {
  constexpr int P = kParts<T>;
  Vec<T> sum[M][L * P];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 16
    for (int l = 0; l < L * P; ++l) sum[m][l] = Vec<T>{};
  }
  for (int64_t j = 0; j < pixels; ++j, g += kBlock, in += kBlock) {
    if (j % 8 == 0) ahead();
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
void outer(const Chunk<T>& g, int64_t out_blocks, const Chunk<T>& in, int64_t in_blocks, T* dw, int64_t pixels,
           Ahead& ahead) {
  constexpr int M = (kRegisters == 32 ? 16 : 8) / kParts<T> < 1 ? 1 : (kRegisters == 32 ? 16 : 8) / kParts<T>;
  const int64_t dw_block = out_blocks * kBlock * kBlock;
  ahead.spread(out_blocks * 2 * ((in_blocks + 1) / 2) * (pixels / 8));
  for (int64_t o = 0; o < out_blocks * kBlock; o += kBlock) {
    int64_t c = 0;
    const auto tiles = [&](auto rows, auto blocks) {
      for (int64_t m = o; m < o + kBlock; m += rows())
        outer_tile<T, rows(), blocks()>(g.at(m, 0), in.base + c * in.block, in.block, dw + m * kBlock + c * dw_block,
                                        dw_block, pixels, ahead);
      c += blocks();
    };
    if constexpr (kRegisters == 32 && kParts<T> == 1) {
      if (in_blocks % 2 == 1 && in_blocks > 1) tiles(Constant<8>{}, Constant<3>{});
      while (c + 2 <= in_blocks) tiles(Constant<8>{}, Constant<2>{});
    }
    while (c < in_blocks) tiles(Constant<M>{}, Constant<1>{});
  }
}

}  // namespace conv
}  // namespace BF_ISA
}  // namespace base_fast
