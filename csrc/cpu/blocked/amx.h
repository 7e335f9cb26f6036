// The pointwise products of a bfloat16 edge on the matrix unit (AMX): operands rounded to bfloat16, sums in float,
// where the processor has it; elsewhere, and for other numbers, as everywhere.
#pragma once

#include "../isa/isa.h"
#include "../isa/vector.h"
#include "../memory/scratch.h"
#include "pointwise.h"

#if BF_VECTOR_BYTES == 64 && defined(__linux__) && __GNUC__ >= 11
#define BF_AMX 1
#else
#define BF_AMX 0
#endif

#if BF_AMX
#pragma GCC push_options
#pragma GCC target("avx512bf16,amx-tile,amx-bf16")
namespace base_fast {
namespace BF_ISA {
namespace blocked {

// A tile holds 16 rows of 64 bytes: 32 numbers of bfloat16, or 16 of float. A product multiplies 16 × 32 by 32 × 16,
// the second with two neighbouring rows interleaved.
constexpr int64_t kTile = 16 * 32;

struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// GCC's own intrinsics hide from it which memory they read and write.
inline void configure_amx() {
  const TileShapes shapes;
  asm volatile("ldtilecfg %0" : : "m"(shapes) : "memory");
}
inline void release_amx() { asm volatile("tilerelease"); }
inline void settle() { asm volatile("" ::: "memory"); }

inline __m512i rounded(const float* first, const float* second) {
  return (__m512i)_mm512_cvtne2ps_pbh(load(second), load(first));
}
inline __m512i interleaved(const float* first, const float* second) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, rounded(first, second));
}

// 16 × 16 pairs, rows to columns.
inline void store_transposed(const __m512i* row, uint16_t* to) {
  __m512i a[16], b[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    a[2 * i] = _mm512_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      b[4 * i + 2 * h] = _mm512_unpacklo_epi64(a[4 * i + h], a[4 * i + h + 2]);
      b[4 * i + 2 * h + 1] = _mm512_unpackhi_epi64(a[4 * i + h], a[4 * i + h + 2]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i even_low = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
    const __m512i even_high = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
    const __m512i odd_low = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
    const __m512i odd_high = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
    _mm512_storeu_si512(to + i * 32, _mm512_shuffle_i32x4(even_low, even_high, 0x88));
    _mm512_storeu_si512(to + (4 + i) * 32, _mm512_shuffle_i32x4(odd_low, odd_high, 0x88));
    _mm512_storeu_si512(to + (8 + i) * 32, _mm512_shuffle_i32x4(even_low, even_high, 0xdd));
    _mm512_storeu_si512(to + (12 + i) * 32, _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd));
  }
}

alignas(64) constexpr float kNoPixel[kBlock] = {};

// As `product`, to rows of `columns` pixels that are `out_row` elements apart.
inline void amx_product(const float* in, int64_t in_block, int64_t in_blocks, const float* w, float* out,
                        int64_t out_block, int64_t out_blocks, int64_t out_row, int64_t columns, int64_t pixels,
                        uint16_t* memory) {
  const int64_t pairs = (in_blocks + 1) / 2, tiles = (pixels + 15) / 16;
  uint16_t *inputs = memory, *weights = memory + tiles * pairs * kTile;
  for (int64_t k = 0; k < pairs; ++k) {
    const float* low = in + 2 * k * in_block;
    for (int64_t p = 0; p < pixels; ++p)
      _mm512_storeu_si512(inputs + (p / 16 * pairs + k) * kTile + p % 16 * 32,
                          rounded(low + p * kBlock, 2 * k + 1 < in_blocks ? low + in_block + p * kBlock : kNoPixel));
  }
  const auto put = [&](const float* from, float* to, int64_t p) {
    for (int64_t j = p; j < std::min(p + 16, pixels); ++j, from += kBlock)
      store(to + j / columns * out_row + j % columns * kBlock, load(from));
  };
  for (int64_t o = 0; o < out_blocks; o += 2) {
    const bool both = o + 1 < out_blocks;
    for (int64_t l = 0; l < 1 + both; ++l) {
      const float* from = w + (o + l) * in_blocks * kBlock * kBlock;
      uint16_t* to = weights + l * pairs * kTile;
      for (int64_t c = 0; c < pairs * 32; c += 2, to += 32)
        _mm512_storeu_si512(to, c < in_blocks * kBlock ? interleaved(from + c * kBlock, from + (c + 1) * kBlock)
                                                       : _mm512_setzero_si512());
    }
    settle();
    for (int64_t t = 0; t < tiles; t += 2) {
      const bool more = t + 1 < tiles;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t k = 0; k < pairs; ++k) {
        _tile_loadd(4, inputs + (t * pairs + k) * kTile, 64);
        _tile_loadd(6, weights + k * kTile, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (more) {
          _tile_loadd(5, inputs + ((t + 1) * pairs + k) * kTile, 64);
          _tile_dpbf16ps(1, 5, 6);
        }
        if (both) {
          _tile_loadd(7, weights + (pairs + k) * kTile, 64);
          _tile_dpbf16ps(2, 4, 7);
          if (more) _tile_dpbf16ps(3, 5, 7);
        }
      }
      const int64_t p = t * 16, row = p / columns, column = p % columns;
      float* to = out + o * out_block;
      if (column + 32 <= columns) {
        float* dense = to + row * out_row + column * kBlock;
        _tile_stored(0, dense, 64);
        _tile_stored(1, dense + 16 * kBlock, 64);
        if (both) {
          _tile_stored(2, dense + out_block, 64);
          _tile_stored(3, dense + out_block + 16 * kBlock, 64);
        }
      } else {
        alignas(64) float sums[4][16 * kBlock];
        _tile_stored(0, sums[0], 64);
        _tile_stored(1, sums[1], 64);
        _tile_stored(2, sums[2], 64);
        _tile_stored(3, sums[3], 64);
        settle();
        for (int l = 0; l < 1 + both; ++l) {
          put(sums[2 * l], to + l * out_block, p);
          if (more) put(sums[2 * l + 1], to + l * out_block, p + 16);
        }
      }
    }
  }
}

// What two pixels lose by rounding.
inline __m512 lost(const float* first, const float* second) {
  const __m512i pair = rounded(first, second);
  const auto wide = [](__m256i half) { return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16); };
  return (load(first) - wide(_mm512_castsi512_si256(pair))) + (load(second) - wide(_mm512_extracti64x4_epi64(pair, 1)));
}

// As `outer`: the gradients' rows become columns of pixels. Gradients behind a batch norm have a mean of zero, which
// rounding loses where they are multiples of a power of two but for a small constant; times a mean of `in` that is not
// zero it would count more than all other errors. What it loses is added again, times the mean of the chunk's `in`.
inline void amx_outer_product(const float* g, int64_t g_block, int64_t out_blocks, const float* in, int64_t in_block,
                              int64_t in_blocks, float* dw, int64_t pixels, uint16_t* memory) {
  const int64_t steps = (pixels + 31) / 32, dw_block = out_blocks * kBlock * kBlock;
  uint16_t *gradients = memory, *inputs = memory + steps * out_blocks * kTile;
  float *losses = reinterpret_cast<float*>(inputs + steps * in_blocks * kTile), *means = losses + out_blocks * kBlock;
  // f(one pixel, the next, i) for the 16 pairs of step s of a block.
  const auto each_pair = [&](const float* block, int64_t s, const auto& f) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const int64_t p = s * 32 + 2 * i;
      f(p < pixels ? block + p * kBlock : kNoPixel, p + 1 < pixels ? block + (p + 1) * kBlock : kNoPixel, i);
    }
  };
  for (int64_t b = 0; b < out_blocks; ++b) {
    __m512 loss = _mm512_setzero_ps();
    for (int64_t s = 0; s < steps; ++s) {
      __m512i row[16];
      each_pair(g + b * g_block, s, [&](const float* first, const float* second, int i) {
        row[i] = interleaved(first, second);
        loss += lost(first, second);
      });
      store_transposed(row, gradients + (b * steps + s) * kTile);
    }
    store(losses + b * kBlock, loss);
  }
  for (int64_t b = 0; b < in_blocks; ++b) {
    __m512 total = _mm512_setzero_ps();
    for (int64_t s = 0; s < steps; ++s) {
      each_pair(in + b * in_block, s, [&](const float* first, const float* second, int i) {
        _mm512_storeu_si512(inputs + (b * steps + s) * kTile + i * 32, interleaved(first, second));
        total += load(first) + load(second);
      });
    }
    store(means + b * kBlock, total / float(pixels));
  }
  for (int64_t c = 0; c < in_blocks; ++c) {
    for (int64_t o = 0; o < out_blocks * kBlock; ++o) {
      float* to = dw + c * dw_block + o * kBlock;
      store(to, fma(load(means + c * kBlock), all(losses[o]), load(to)));
    }
  }
  settle();
  for (int64_t o = 0; o < out_blocks; o += 2) {
    for (int64_t c = 0; c < in_blocks; c += 2) {
      const bool more = o + 1 < out_blocks, both = c + 1 < in_blocks;
      float* to = dw + o * kBlock * kBlock + c * dw_block;
      _tile_loadd(0, to, 64);
      if (more) _tile_loadd(1, to + kBlock * kBlock, 64);
      if (both) _tile_loadd(2, to + dw_block, 64);
      if (more && both) _tile_loadd(3, to + dw_block + kBlock * kBlock, 64);
      for (int64_t s = 0; s < steps; ++s) {
        _tile_loadd(4, gradients + (o * steps + s) * kTile, 64);
        _tile_loadd(6, inputs + (c * steps + s) * kTile, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (more) {
          _tile_loadd(5, gradients + ((o + 1) * steps + s) * kTile, 64);
          _tile_dpbf16ps(1, 5, 6);
        }
        if (both) {
          _tile_loadd(7, inputs + ((c + 1) * steps + s) * kTile, 64);
          _tile_dpbf16ps(2, 4, 7);
          if (more) _tile_dpbf16ps(3, 5, 7);
        }
      }
      _tile_stored(0, to, 64);
      if (more) _tile_stored(1, to + kBlock * kBlock, 64);
      if (both) _tile_stored(2, to + dw_block, 64);
      if (more && both) _tile_stored(3, to + dw_block + kBlock * kBlock, 64);
    }
  }
}

}  // namespace blocked
}  // namespace BF_ISA
}  // namespace base_fast
#pragma GCC pop_options
#endif

namespace base_fast {
namespace BF_ISA {
namespace blocked {

// Pointwise products of chunks: on the matrix unit, which a pass holds as long as this lives, or as everywhere.
template <class T>
class Amx {
 public:
  // For chunks of so many pixels and channels. A single block fills half a tile, and gains nothing.
  Amx(bool rounds, int64_t pixels, int64_t channels, Scratch<T>& scratch)
      : memory_(BF_AMX && std::is_same_v<T, float> && rounds && channels > kBlock && has_amx()
                    ? scratch.take((pixels + 48) * (channels + kBlock))
                    : nullptr) {
#if BF_AMX
    if (memory_ != nullptr) configure_amx();
#endif
  }
  Amx(const Amx&) = delete;
  ~Amx() {
#if BF_AMX
    if (memory_ != nullptr) release_amx();
#endif
  }

  // out[o][pixel] = Σ_c w[o][c]·in[c][pixel], see `product`; pixels lie in `rows` rows of `columns`.
  template <class A>
  void product(const T* in, int64_t in_block, int64_t in_blocks, const T* w, T* out, int64_t out_block,
               int64_t out_blocks, int64_t out_row, int64_t rows, int64_t columns, A& prefetch) const {
#if BF_AMX
    if constexpr (std::is_same_v<T, float>) {
      if (memory_ != nullptr)
        return amx_product(in, in_block, in_blocks, w, out, out_block, out_blocks, out_row, columns, rows * columns,
                           reinterpret_cast<uint16_t*>(memory_));
    }
#endif
    for (int64_t i = 0; i < rows; ++i)
      blocked::product(in + i * columns * kBlock, in_block, in_blocks, w, out + i * out_row, out_block, out_blocks,
                       columns, prefetch);
  }
  // dw[c][o] += Σ_pixel in[c][pixel]·g[o][pixel], see `outer`.
  template <class A>
  void outer_product(const T* g, int64_t g_block, int64_t out_blocks, const T* in, int64_t in_block, int64_t in_blocks,
                     T* dw, int64_t pixels, A& prefetch) const {
#if BF_AMX
    if constexpr (std::is_same_v<T, float>) {
      if (memory_ != nullptr)
        return amx_outer_product(g, g_block, out_blocks, in, in_block, in_blocks, dw, pixels,
                                 reinterpret_cast<uint16_t*>(memory_));
    }
#endif
    blocked::outer_product(g, g_block, out_blocks, in, in_block, in_blocks, dw, pixels, prefetch);
  }

 private:
  T* memory_;
};

}  // namespace blocked
}  // namespace BF_ISA
}  // namespace base_fast
#undef BF_AMX
