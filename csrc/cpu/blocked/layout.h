// How images lie in memory while kernels work on them: in blocks of 16 channels, [block][pixel][16], channels padded
// with zeros. A vector holds channels of one pixel, so a convolution needs no shuffles whatever its kernel, and every
// offset is a constant.
#pragma once

#include <cstdint>

namespace base_fast {

constexpr int64_t kBlock = 16;

// How numbers lie in memory: as those that compute, or rounded to bfloat16.
enum class Storage { own, bfloat16 };

// A gradient's way back through a strided filter. Input pixels of one parity (row a, column b) meet only some taps,
// and meet them as an ordinary convolution of the gradient: `rows` × `columns` taps, the first of them at `row`,
// `column`.
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

// The output channels [begin, end) of a pointwise product, and the blocks that they lie in.
struct ChannelRange {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
  int64_t first() const { return begin / kBlock; }
  int64_t blocks() const { return (end + kBlock - 1) / kBlock - first(); }
};
// Those of one half of a factorized reduction. The second may begin in the block where the first ends.
inline ChannelRange half_of(int64_t channels, int half) {
  return half == 0 ? ChannelRange{0, channels / 2} : ChannelRange{channels / 2, channels};
}

// What pools need to know of the images before and behind them.
struct PoolShape {
  int64_t height, width, out_width;
  int stride;
};

// Elements of a chunk of pixels that are worked on at once: about a first-level cache full. Fewer pixels would not
// amortize fixed costs, more would not gain.
constexpr int64_t kChunkElements = 6144;
constexpr int64_t kLeastChunk = 32, kMostChunk = 128;
inline int64_t clamp_chunk(int64_t pixels) {
  return pixels < kLeastChunk ? kLeastChunk : pixels > kMostChunk ? kMostChunk : pixels;
}

// Added to the variance by every batch norm.
constexpr double kBatchNormEpsilon = 1e-5;

}  // namespace base_fast
