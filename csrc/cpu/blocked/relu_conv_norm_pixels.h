// Pixels on their way from and to memory.
#pragma once

#include "../isa/vector.h"
#include "relu_conv_norm_plan.h"
#include "stored.h"

namespace base_fast {
namespace BF_ISA {
namespace conv {

using namespace blocked;

// Pixels in blocks of channels, [block][pixel][16].
template <class T>
struct Chunk {
  T* base;
  int64_t block;  // elements from one block to the next
  // Channel c of pixel k; a vector where c is a multiple of one.
  T* at(int64_t c, int64_t k) const { return base + c / kBlock * block + k * kBlock + c % kBlock; }
};

// f(channel, vector) of one pixel, zeros beyond its channels.
template <class S, class F>
BF_INLINE void read_pixel(const S* p, int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kBlock <= channels; c += kBlock) {
#pragma GCC unroll 8
    for (int part = 0; part < kBlock; part += kWidth<compute_t<S>>) f(c + part, load(p + c + part));
  }
  if (c == channels) return;
  S tail[kBlock] = {};
  for (int64_t k = 0; k < channels - c; ++k) tail[k] = p[c + k];
#pragma GCC unroll 8
  for (int part = 0; part < kBlock; part += kWidth<compute_t<S>>) f(c + part, load(tail + part));
}

// One pixel from f(channel), a vector of T.
template <class T, class S, class F>
BF_INLINE void write_pixel(S* p, int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kBlock <= channels; c += kBlock) {
#pragma GCC unroll 8
    for (int part = 0; part < kBlock; part += kWidth<T>) store(p + c + part, f(c + part));
  }
  if (c == channels) return;
  S tail[kBlock];
#pragma GCC unroll 8
  for (int part = 0; part < kBlock; part += kWidth<T>) store(tail + part, f(c + part));
  for (int64_t k = 0; k < channels - c; ++k) p[c + k] = tail[k];
}

// The vector that begins with channel c, zeros beyond the channels; and back.
template <class S>
BF_INLINE Vec<compute_t<S>> read_part(const S* p, int64_t c, int64_t channels) {
  constexpr int64_t N = kWidth<compute_t<S>>;
  if (c + N <= channels) return load(p + c);
  S tail[N] = {};
  for (int64_t k = c; k < channels; ++k) tail[k - c] = p[k];
  return load(tail);
}
template <class S>
BF_INLINE void write_part(S* p, int64_t c, int64_t channels, Vec<compute_t<S>> v) {
  constexpr int64_t N = kWidth<compute_t<S>>;
  if (c + N <= channels) return store(p + c, v);
  S tail[N];
  store(tail, v);
  for (int64_t k = c; k < channels; ++k) p[k] = tail[k - c];
}

// Output pixels of a part that are worked on at once.
template <class T>
struct Piece {
  const ConvPart<T>* part;
  int64_t first, count;
};

// f(piece, the next one) of a group, in order; the last is followed by an empty one.
template <class S, class F>
BF_INLINE void each_piece(const ConvPlan<S>& plan, int64_t group, const F& f) {
  const int64_t begin = plan.begin(group), end = plan.begin(group + 1), chunk = plan.chunk();
  const int64_t pieces = (end - begin + chunk - 1) / chunk * plan.count;
  const auto piece = [&](int64_t p) -> Piece<compute_t<S>> {
    const int64_t first = begin + p / plan.count * chunk;
    return {plan.parts + p % plan.count, first, p < pieces ? std::min(chunk, end - first) : 0};
  };
  for (int64_t p = 0; p < pieces; ++p) f(piece(p), piece(p + 1));
}

// A piece's pixels in one row, from the k-th on. Of x and dx an odd size may lack the last one.
struct Run {
  int64_t k, count;
  int64_t image, row, column;  // of the output
  int64_t in_row, in_column;   // of x
  int64_t inside;              // pixels that x has
};

template <class S, class F>
BF_INLINE void each_run(const ConvPlan<S>& plan, const Piece<compute_t<S>>& piece, const F& f) {
  const int64_t row = piece.first / plan.out_width, shift = piece.part->shift;
  Run run{0, 0, row / plan.out_height, row % plan.out_height, piece.first % plan.out_width, 0, 0, 0};
  for (; run.k < piece.count; run.k += run.count, run.column = 0) {
    run.count = std::min(plan.out_width - run.column, piece.count - run.k);
    run.in_row = run.row * plan.stride + shift, run.in_column = run.column * plan.stride + shift;
    const int64_t inside = (plan.width - run.in_column + plan.stride - 1) / plan.stride;
    run.inside = run.in_row < plan.height ? std::min(run.count, inside) : 0;
    f(run);
    if (++run.row == plan.out_height) run.row = 0, ++run.image;
  }
}

}  // namespace conv
}  // namespace BF_ISA
}  // namespace base_fast
