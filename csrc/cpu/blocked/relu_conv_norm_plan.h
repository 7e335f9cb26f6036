// What the passes of relu_conv_norm work on: plain numbers and pointers, the same for every instruction set.
//
// A pass works on chunks of output pixels, counted through the batch. Inside, a chunk is stored in blocks of 16
// channels, [block][pixel][16], channels padded with zeros; outside, channels are neighbours in memory and pixels lie
// at any strides.
#pragma once

#include "../../core/types.h"
#include "../memory/groups.h"
#include "layout.h"

namespace base_fast {

// The pixels of images; strides in elements.
template <class S>
struct Pixels {
  S* base;
  int64_t image, row, pixel;
  S* at(int64_t n, int64_t i, int64_t j) const { return base + n * image + i * row + j * pixel; }
};

// Output channels with a product of their own. Stride 1 has one part; stride 2, the factorized reduction, has two: the
// first half of the channels convolves the even pixels, the second the odd ones.
template <class T>
struct ConvPart {
  int64_t shift;             // of the input pixels that it reads, along both axes
  int64_t begin, channels;   // its channels of y
  int64_t blocks;            // their number in blocks, rounded up
  int64_t padded_begin;      // and its place in arrays of padded channels
  const T* weight;           // [out block][in][16]
  const T* transposed;       // [in block][out][16]
  int64_t weights_at;        // where its weights' gradients lie in a group's, [in block][out][16]
};

template <class S>
struct ConvPlan {
  using T = compute_t<S>;

  int64_t images, height, width;  // of x
  int64_t out_height, out_width;  // of y
  int64_t in_channels, in_blocks;
  int64_t out_channels, out_padded;  // the parts' blocks, one after the other
  int stride;
  ConvPart<T> parts[2];
  int count;  // of parts

  Pixels<const S> x;
  T* v;  // before the norm: dense NHWC; the same memory as y where S is T
  S* y;  // dense NHWC
  const S* saved;  // y, in backward
  Pixels<const S> grad;
  S* dx;  // dense NHWC

  // Per padded channel. y = (v − mean)·rstd + offset, where `mean` is rounded to T and `offset` makes up for it.
  const T *mean, *rstd, *offset;
  // dv = gain·dy + slope·y + intercept.
  const T *gain, *slope, *intercept;

  int64_t groups;       // the pixels are cut into so many, whatever the number of threads
  double* sums;         // [group][2][padded channel]: mean and Σ(v − mean)² forward, Σ dy and Σ dy·y backward
  T* weight_gradients;  // [group][weights]
  int64_t weights;

  int64_t in_padded() const { return in_blocks * kBlock; }
  int64_t pixels() const { return images * out_height * out_width; }
  S* dx_at(int64_t n, int64_t i, int64_t j) const { return dx + ((n * height + i) * width + j) * in_channels; }
  int64_t begin(int64_t group) const { return pixels() * group / groups; }
  // Where rows and images follow each other they are one long row.
  void join_rows() {
    const auto joined = [&](const Pixels<const S>& p) {
      return p.base == nullptr || (p.row == width * p.pixel && p.image == height * p.row);
    };
    if (stride != 1 || !joined(x) || !joined(grad)) return;
    width = out_width = images * height * width;
    images = height = out_height = 1;
  }
  double* sums_of(int64_t group) const { return sums + group * 2 * out_padded; }
  // Pixels that are worked on at once.
  int64_t chunk() const { return clamp_chunk(kChunkElements / in_padded() / 8 * 8); }
};

}  // namespace base_fast
