// How images lie in memory while kernels work on them: in blocks of 16 channels, [block][pixel][16], channels padded with
// zeros. A vector holds channels of one pixel, so a convolution needs no shuffles whatever its kernel, and every offset is
// a constant.
#pragma once

#include <cstdint>

namespace base_fast {

constexpr int64_t kBlock = 16;

// How numbers lie in memory: as those that compute, or rounded to bfloat16.
enum class Storage { own, bfloat16 };

// A gradient's way back through a strided filter. Input pixels of one parity (row a, column b) meet only some taps,
// and meet them as an ordinary convolution of the gradient: `rows` × `columns` taps, the first of them at `row`, `column`.
struct Parity {
  int rows, columns;
  int64_t row, column;
};

inline Parity parity_of(int kernel, int dilation, int stride, int a, int b) {
  const int pad = dilation * (kernel / 2);
  Parity p{0, 0, 0, 0};
  // Tap t of the output at (q + pad − t·dilation)/stride: offsets fall as t rises, so the last tap comes first.
  for (int t = kernel - 1; t >= 0; --t) {
    if ((a + pad - t * dilation) % stride == 0 && p.rows++ == 0) p.row = (a + pad - t * dilation) / stride;
    if ((b + pad - t * dilation) % stride == 0 && p.columns++ == 0) p.column = (b + pad - t * dilation) / stride;
  }
  return p;
}

}  // namespace base_fast
