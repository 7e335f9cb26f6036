// Compiled with BF_SET 512, 2 and 0.
#include <vector>

#include "../cpu/isa/standard.h"
#include "core.h"

#if BF_SET == 512
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,prefer-vector-width=512")
#define BF_ISA avx512
#elif BF_SET == 2
#pragma GCC target("avx2,fma")
#define BF_ISA avx2
#else
#define BF_ISA baseline
#endif

#if BF_SET == 0 || BF_MULTI_ISA

#include "../core/bfloat16.h"
#include "../core/math.h"
#include "../core/philox.h"
#include "../cpu/blocked/moments.h"
#include "../cpu/elementwise/packing.h"

namespace base_fast {

#if BF_SET == 0
int64_t run_length() { return baseline::kNoiseBlock; }
#endif

namespace BF_ISA {

void philox(const uint32_t* counters, int64_t count, uint32_t key0, uint32_t key1, uint32_t* words) {
  for (int64_t i = 0; i < count; ++i) {
    Words4 counter;
    memcpy(&counter, counters + 4 * i, sizeof counter);
    const Words4 found = philox(counter, key0, key1);
    memcpy(words + 4 * i, &found, sizeof found);
  }
}

void noise_blocks(Noise noise, Key key, int64_t first, int64_t blocks, void* out) {
  for (int64_t block = 0; block < blocks; ++block) {
    const auto put = [&](auto elements) {
      memcpy(static_cast<char*>(out) + block * int64_t(sizeof elements), &elements, sizeof elements);
    };
    // Counters wrap around, as they are unsigned.
    const auto at = static_cast<int64_t>(static_cast<uint64_t>(first) + static_cast<uint64_t>(block));
    switch (noise) {
      case Noise::words: put(words4(key, at)); break;
      case Noise::uniform: put(uniform4(key, at)); break;
      case Noise::gumbel: put(gumbel4(key, at)); break;
      case Noise::normal: put(normal4(key, at)); break;
    }
  }
}

void noise_runs(Noise noise, Key key, int64_t first, int64_t runs, void* out) {
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t at = first + run * (kNoiseBlock / 4);
    float* const floats = static_cast<float*>(out) + run * kNoiseBlock;
    switch (noise) {
      case Noise::words: word_block(key, at, static_cast<uint32_t*>(out) + run * kNoiseBlock); break;
      case Noise::uniform: uniform_block(key, at, floats); break;
      case Noise::gumbel: gumbel_block(key, at, floats); break;
      case Noise::normal: normal_block(key, at, floats); break;
    }
  }
}

void apply(Function function, const float* x, int64_t count, float* y) {
  const auto all = [&](auto f) {
    for (int64_t i = 0; i < count; ++i) y[i] = f(x[i]);
  };
  switch (function) {
    case Function::log: return all([](float v) { return log_(v); });
    case Function::log_positive: return all([](float v) { return log_positive(v); });
    case Function::exp: return all([](float v) { return exp_(v); });
    case Function::exp_negative: return all([](float v) { return exp_negative(v); });
    case Function::log1p_unit: return all([](float v) { return log1p_unit(v); });
    case Function::softplus: return all([](float v) { return softplus(v); });
    case Function::sigmoid: return all([](float v) { return sigmoid(v); });
    case Function::cos_turn: return all([](float v) { return cos_sin_turn(v).cos; });
    case Function::sin_turn: return all([](float v) { return cos_sin_turn(v).sin; });
  }
}

void to_bfloat16(const float* x, int64_t count, uint16_t* bits) {
  for (int64_t i = 0; i < count; ++i) bits[i] = from_float<bfloat16>(x[i]).bits;
}
void from_bfloat16(const uint16_t* bits, int64_t count, float* x) {
  for (int64_t i = 0; i < count; ++i) x[i] = to_float(bfloat16{bits[i]});
}

void pack(const float* x, int64_t rows, int64_t columns, int64_t row, int64_t column, float* dense) {
  const Block<const float> found = packed(Block<const float>{x, row, column}, rows, columns, dense);
  // One whose columns are neighbours stays where it is.
  for (int64_t i = 0; i < rows && found.data != dense; ++i) {
    memcpy(dense + i * columns, found.data + i * found.row, size_t(columns) * sizeof(float));
  }
}
void unpack(const float* dense, int64_t rows, int64_t columns, int64_t row, int64_t column, bool streamed, float* x) {
  std::vector<float> room(size_t(rows * columns));
  const Block<float> y{x, row, column}, to = written(y, columns, streamed, room.data());
  for (int64_t i = 0; i < rows; ++i) memcpy(to.data + i * to.row, dense + i * columns, size_t(columns) * sizeof(float));
  deliver(to, y, rows, columns, streamed);
  stream_fence();
}

void moments(const float* x, int64_t blocks, int64_t pixels, const int64_t* chunks, int64_t count, double* mean,
             double* square) {
  const int64_t padded = blocks * kBlock;
  std::vector<double> memory(size_t(4 * padded + 64));
  Scratch<float> scratch(Workspace<float>{reinterpret_cast<float*>(memory.data()), true, -1});
  auto found = blocked::Moments<float>::take(scratch, padded);
  for (int64_t i = 0, before = 0; i < count; before += chunks[i++]) {
    found.reset();
    for (int64_t b = 0; b < blocks; ++b) found.add(b, x + (b * pixels + before) * kBlock, chunks[i]);
    found.merge(mean, square, before, chunks[i]);
  }
}

}  // namespace BF_ISA
}  // namespace base_fast

#endif
