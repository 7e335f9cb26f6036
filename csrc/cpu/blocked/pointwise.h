// Products over channels: out = in·W, and the gradient of W. Chunks of pixels in blocks of channels.
#pragma once

#include "../isa/vector.h"
#include "layout.h"

namespace base_fast {
namespace BF_ISA {
namespace blocked {

using namespace simd;

// Vectors in a block of channels.
template <class T>
constexpr int kParts = int(kBlock) / kWidth<T>;

template <int N>
using Constant = std::integral_constant<int, N>;

// Pixels, or channels, whose sums of one block of channels fill the registers.
template <class T>
constexpr int kTall = (kRegisters == 32 ? 16 : 8) / kParts<T> < 1 ? 1 : (kRegisters == 32 ? 16 : 8) / kParts<T>;

// Cuts `blocks` into twos and, for an odd rest, a three, if there are registers for them: f(how tall, how wide, where).
template <class T, class F>
BF_INLINE void each_width(int64_t blocks, const F& f) {
  int64_t at = 0;
  const auto next = [&](auto tall, auto wide) __attribute__((always_inline)) { f(tall, wide, at), at += wide(); };
  if constexpr (kRegisters == 32 && kParts<T> == 1) {
    if (blocks % 2 == 1 && blocks > 1) next(Constant<8>{}, Constant<3>{});
    while (at + 2 <= blocks) next(Constant<8>{}, Constant<2>{});
  }
  while (at < blocks) next(Constant<kTall<T>>{}, Constant<1>{});
}

// How often a product, or a gradient of its weights, asks for memory prefetch; no more than it does.
inline int64_t products(int64_t in_blocks, int64_t out_blocks, int64_t pixels) {
  return out_blocks == 1 ? pixels / 16 * in_blocks : pixels / 8 * in_blocks * (out_blocks / 2);
}
inline int64_t outer_products(int64_t in_blocks, int64_t out_blocks, int64_t pixels) {
  return pixels / 8 * out_blocks * (in_blocks == 1 ? 1 : 2 * (in_blocks / 2));
}

// N pixels × M blocks of output channels.
template <class T, int N, int M, class A>
BF_INLINE void product_tile(const T* in, int64_t in_block, int64_t blocks, const T* w, T* out, int64_t out_block,
                            A& prefetch) {
  constexpr int P = kParts<T>;
  const int64_t w_block = blocks * kBlock * kBlock;
  Vec<T> sum[N][M * P];
#pragma GCC unroll 16
  for (int j = 0; j < N; ++j) {
#pragma GCC unroll 16
    for (int m = 0; m < M * P; ++m) sum[j][m] = Vec<T>{};
  }
  for (int64_t b = 0; b < blocks; ++b, in += in_block, w += kBlock * kBlock) {
    prefetch();
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
    for (int m = 0; m < M * P; ++m) store(out + (m / P) * out_block + j * kBlock + (m % P) * kWidth<T>, sum[j][m]);
  }
}

// out[o][pixel] = Σ_c w[o][c]·in[c][pixel]; w as [out block][in][16].
template <class T, class A>
void product(const T* in, int64_t in_block, int64_t in_blocks, const T* w, T* out, int64_t out_block,
             int64_t out_blocks, int64_t pixels, A& prefetch) {
  each_width<T>(out_blocks, [&](auto tall, auto wide, int64_t o) __attribute__((always_inline)) {
    int64_t j = 0;
    const auto tiles = [&](auto n) __attribute__((always_inline)) {
      for (; j + n() <= pixels; j += n())
        product_tile<T, n(), wide()>(in + j * kBlock, in_block, in_blocks, w + o * in_blocks * kBlock * kBlock,
                                     out + o * out_block + j * kBlock, out_block, prefetch);
    };
    tiles(tall);
    if constexpr (tall() > 8) tiles(Constant<8>{});
    if constexpr (tall() > 4) tiles(Constant<4>{});
    tiles(Constant<1>{});
  });
}

// M output channels × L blocks of input channels; sums stay in registers over the pixels.
template <class T, int M, int L, class A>
BF_INLINE void outer_product_tile(const T* g, const T* in, int64_t in_block, T* dw, int64_t dw_block, int64_t pixels,
                                  A& prefetch) {
  constexpr int P = kParts<T>;
  Vec<T> sum[M][L * P];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 16
    for (int l = 0; l < L * P; ++l) sum[m][l] = Vec<T>{};
  }
  for (int64_t j = 0; j < pixels; ++j, g += kBlock, in += kBlock) {
    if (j % 8 == 0) prefetch();
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
template <class T, class A>
void outer_product(const T* g, int64_t g_block, int64_t out_blocks, const T* in, int64_t in_block, int64_t in_blocks,
                   T* dw, int64_t pixels, A& prefetch) {
  const int64_t dw_block = out_blocks * kBlock * kBlock;
  for (int64_t o = 0; o < out_blocks; ++o) {
    each_width<T>(in_blocks, [&](auto tall, auto wide, int64_t c) __attribute__((always_inline)) {
      for (int64_t m = 0; m < kBlock; m += tall())
        outer_product_tile<T, tall(), wide()>(g + o * g_block + m, in + c * in_block, in_block,
                                              dw + (o * kBlock + m) * kBlock + c * dw_block, dw_block, pixels,
                                              prefetch);
    });
  }
}

}  // namespace blocked
}  // namespace BF_ISA
}  // namespace base_fast
