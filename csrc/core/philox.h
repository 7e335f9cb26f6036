// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC'11) and the noise made of
// its words. A key's stream is cut into blocks of four words; element i of any noise comes from word i, which is lane
// i mod 4 of block i / 4, as base_fast/reference/philox.py defines it.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "macros.h"
#include "math.h"
#include "types.h"

namespace base_fast {
namespace BF_ISA {

constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u, kPhiloxWeyl1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

struct Words4 {
  uint32_t x[4];
};

struct Noise4 {
  float x[4];
};

// Ten rounds on a counter of four words, under a key of two.
BF_HD Words4 philox(Words4 counter, uint32_t k0, uint32_t k1) {
  uint32_t c0 = counter.x[0], c1 = counter.x[1], c2 = counter.x[2], c3 = counter.x[3];
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(c0) * kPhiloxMultiplier0;
    const uint64_t product1 = static_cast<uint64_t>(c2) * kPhiloxMultiplier1;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(product0);
    k0 += kPhiloxWeyl0;
    k1 += kPhiloxWeyl1;
  }
  return {{c0, c1, c2, c3}};
}

// The four words of a block of the key's stream.
BF_HD Words4 words4(Key key, int64_t block) {
  const uint64_t counter = static_cast<uint64_t>(key.offset) + static_cast<uint64_t>(block);
  const uint64_t seed = static_cast<uint64_t>(key.seed);
  return philox({{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0u, 0u}},
                static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// (⌊word/2⁹⌋ + ½)·2⁻²³: exact, never 0 or 1.
BF_HD float uniform(uint32_t word) {
  return (static_cast<float>(static_cast<int32_t>(word >> 9)) + 0.5f) * 1.1920929e-7f;
}

// Gumbel(0, 1): −log(−log u). Absolute error 5.5e-7 [1.1e-6] against the exact function of u (see math.h).
BF_HD float gumbel(uint32_t word) { return -log_positive(-log_positive(uniform(word))); }

// Two N(0, 1), by Box–Muller. Absolute error 5.6e-7 of a million pairs.
BF_HD CosSin normal_pair(uint32_t word0, uint32_t word1) {
  const float radius = sqrt_(-2.0f * log_positive(uniform(word0)));
  const CosSin turn = cos_sin_turn(uniform(word1));
  return {radius * turn.cos, radius * turn.sin};
}

BF_HD Noise4 uniform4(Key key, int64_t block) {
  const Words4 w = words4(key, block);
  return {{uniform(w.x[0]), uniform(w.x[1]), uniform(w.x[2]), uniform(w.x[3])}};
}

BF_HD Noise4 gumbel4(Key key, int64_t block) {
  const Words4 w = words4(key, block);
  return {{gumbel(w.x[0]), gumbel(w.x[1]), gumbel(w.x[2]), gumbel(w.x[3])}};
}

BF_HD Noise4 normal4(Key key, int64_t block) {
  const Words4 w = words4(key, block);
  const CosSin a = normal_pair(w.x[0], w.x[1]), b = normal_pair(w.x[2], w.x[3]);
  return {{a.cos, a.sin, b.cos, b.sin}};
}

#if BF_VECTOR_BYTES <= 64  // a CPU

// CPU kernels take noise in runs of this many elements, which stay in the L1 cache:
//
//   float eps[kNoiseBlock];
//   for (int64_t i = begin; i < end; i += kNoiseBlock) {  // begin: a multiple of 4
//     prefetch_block(mu + i + 2 * kNoiseBlock);           // and every other array; past the end does no harm
//     normal_block(key, i / 4, eps);
//     for (int64_t j = 0; j < std::min<int64_t>(kNoiseBlock, end - i); ++j) ... eps[j] ...
//   }
constexpr int kNoiseBlock = 256;

// 64-bit lanes. Philox fills their low halves; the high halves hold leftovers that `multiply_low` does not read, so
// that a round is two products, two shifts and two exclusive ors.
typedef uint64_t Lanes __attribute__((vector_size(BF_VECTOR_BYTES)));

// The 64-bit products of the low halves.
BF_HD Lanes multiply_low(Lanes a, Lanes b) {
#if BF_VECTOR_BYTES == 64
  return (Lanes)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);  // GCC 12 warns about the form without a mask
#elif BF_VECTOR_BYTES == 32
  return (Lanes)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (Lanes)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

// The words of kNoiseBlock/4 Philox blocks: word 2j in even[j], word 2j + 1 in odd[j].
inline void word_pairs(Key key, int64_t first_block, uint32_t* BF_RESTRICT even, uint32_t* BF_RESTRICT odd) {
  constexpr int width = sizeof(Lanes) / sizeof(uint64_t);
  const uint64_t seed = static_cast<uint64_t>(key.seed);
  const uint64_t start = static_cast<uint64_t>(key.offset) + static_cast<uint64_t>(first_block);
  Lanes counter;
  for (int lane = 0; lane < width; ++lane) counter[lane] = start + static_cast<uint64_t>(lane);
  for (int block = 0; block < kNoiseBlock / 4; block += width) {
    Lanes c0 = counter, c1 = counter >> 32, c2 = Lanes{}, c3 = Lanes{};
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const Lanes product0 = multiply_low(c0, Lanes{} + kPhiloxMultiplier0);
      const Lanes product1 = multiply_low(c2, Lanes{} + kPhiloxMultiplier1);
      c0 = (product1 >> 32) ^ c1 ^ k0;
      c1 = product1;
      c2 = (product0 >> 32) ^ c3 ^ k1;
      c3 = product0;
      k0 += kPhiloxWeyl0;
      k1 += kPhiloxWeyl1;
    }
    // As 32-bit words in memory, lowest first: words 0 and 2 of every block, then words 1 and 3.
    const Lanes evens = (c0 & 0xffffffffu) | (c2 << 32);
    const Lanes odds = (c1 & 0xffffffffu) | (c3 << 32);
    memcpy(even + 2 * block, &evens, sizeof evens);
    memcpy(odd + 2 * block, &odds, sizeof odds);
    counter += width;
  }
}

// Elements [4·first_block, 4·first_block + kNoiseBlock) of the key's noise.
inline void word_block(Key key, int64_t first_block, uint32_t* BF_RESTRICT out) {
  uint32_t even[kNoiseBlock / 2], odd[kNoiseBlock / 2];
  word_pairs(key, first_block, even, odd);
  for (int j = 0; j < kNoiseBlock / 2; ++j) {
    out[2 * j] = even[j];
    out[2 * j + 1] = odd[j];
  }
}

inline void uniform_block(Key key, int64_t first_block, float* BF_RESTRICT out) {
  uint32_t even[kNoiseBlock / 2], odd[kNoiseBlock / 2];
  word_pairs(key, first_block, even, odd);
  for (int j = 0; j < kNoiseBlock / 2; ++j) {
    out[2 * j] = uniform(even[j]);
    out[2 * j + 1] = uniform(odd[j]);
  }
}

inline void gumbel_block(Key key, int64_t first_block, float* BF_RESTRICT out) {
  uint32_t even[kNoiseBlock / 2], odd[kNoiseBlock / 2];
  word_pairs(key, first_block, even, odd);
  for (int j = 0; j < kNoiseBlock / 2; ++j) {
    out[2 * j] = gumbel(even[j]);
    out[2 * j + 1] = gumbel(odd[j]);
  }
}

inline void normal_block(Key key, int64_t first_block, float* BF_RESTRICT out) {
  uint32_t even[kNoiseBlock / 2], odd[kNoiseBlock / 2];
  word_pairs(key, first_block, even, odd);
  for (int j = 0; j < kNoiseBlock / 2; ++j) {
    const CosSin pair = normal_pair(even[j], odd[j]);
    out[2 * j] = pair.cos;
    out[2 * j + 1] = pair.sin;
  }
}

// Asks for the memory of a run some runs ahead, so that it arrives while noise is computed. More than 256 elements of
// three arrays at once would fill the processor's queues and stall it.
template <class T>
BF_HD void prefetch_block(const T* run) {
  const char* bytes = reinterpret_cast<const char*>(run);
  for (size_t line = 0; line < kNoiseBlock * sizeof(T); line += 64) __builtin_prefetch(bytes + line);
}

#endif

}  // namespace BF_ISA
}  // namespace base_fast
