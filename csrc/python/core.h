// The torch-free core as plain loops over arrays, once per instruction set, for tests in Python.
#pragma once

#include <cstdint>

#include "../core/types.h"
#include "../cpu/isa/per_isa.h"

namespace base_fast {

enum class Noise { words, uniform, gumbel, normal };
enum class Function { log, log_positive, exp, exp_negative, log1p_unit, softplus, sigmoid, cos_turn, sin_turn };

// Elements that `noise_runs` draws at once.
int64_t run_length();

BF_FOR_EACH_ISA(

// words (count, 4) of counters (count, 4) under a key of two words.
void philox(const uint32_t* counters, int64_t count, uint32_t key0, uint32_t key1, uint32_t* words);

// Elements of a key's noise, from block `first` on: block by block, or in the runs that kernels take. Words come as
// uint32, the rest as float.
void noise_blocks(Noise noise, Key key, int64_t first, int64_t blocks, void* out);
void noise_runs(Noise noise, Key key, int64_t first, int64_t runs, void* out);

void apply(Function function, const float* x, int64_t count, float* y);

void to_bfloat16(const float* x, int64_t count, uint16_t* bits);
void from_bfloat16(const uint16_t* bits, int64_t count, float* x);

// x (rows, columns) of any strides → dense, and back to where it was.
void pack(const float* x, int64_t rows, int64_t columns, int64_t row, int64_t column, float* dense);
void unpack(const float* dense, int64_t rows, int64_t columns, int64_t row, int64_t column, bool streamed, float* x);

// mean and Σ(x − mean)², (16·blocks), of x (blocks, pixels, 16) that comes in `chunks` of so many pixels.
void moments(const float* x, int64_t blocks, int64_t pixels, const int64_t* chunks, int64_t count, double* mean,
             double* square);

)

}  // namespace base_fast
