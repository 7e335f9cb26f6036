// Weights in blocks of 16 channels, in the order that kernels read them, and gradients back from there. Channels that
// the last block lacks are left as they are: whoever packs clears them before. `weight(i)` is the i-th of a tensor.
#pragma once

#include <algorithm>
#include <cstdint>

#include "layout.h"

namespace base_fast {

// Filters (channels, taps) as [block][tap][16].
template <class W, class T>
void pack_filters(const W& weight, int64_t channels, int64_t taps, T* to) {
  for (int64_t c = 0; c < channels; ++c) {
    T* own = to + c / kBlock * taps * kBlock + c % kBlock;
    for (int64_t t = 0; t < taps; ++t) own[t * kBlock] = weight(c * taps + t);
  }
}

// Filters (channels, kernel, kernel) for the gradient of their input: for every `Parity` of pixels the taps that these
// meet, last first.
template <class W, class T>
void pack_filters_transposed(const W& weight, int64_t channels, int kernel, int stride, int dilation, T* to) {
  const int64_t taps = int64_t(kernel) * kernel;
  const int pad = dilation * (kernel / 2);
  for (int64_t c = 0; c < channels; ++c) {
    T* own = to + c / kBlock * taps * kBlock + c % kBlock;
    for (int parity = 0; parity < stride * stride; ++parity) {
      for (int t = kernel - 1; t >= 0; --t) {
        for (int u = kernel - 1; u >= 0; --u) {
          if ((parity / stride + pad - t * dilation) % stride != 0) continue;
          if ((parity % stride + pad - u * dilation) % stride != 0) continue;
          *own = weight(c * taps + t * kernel + u);
          own += kBlock;
        }
      }
    }
  }
}

// The gradient of filters, [block][tap][16], as (channels, taps): put(i, value).
template <class T, class F>
void unpack_filters(const T* from, int64_t channels, int64_t taps, const F& put) {
  for (int64_t c = 0; c < channels; ++c) {
    const T* own = from + c / kBlock * taps * kBlock + c % kBlock;
    for (int64_t t = 0; t < taps; ++t) put(c * taps + t, own[t * kBlock]);
  }
}

// A matrix (outputs, inputs), the rows of some output channels, for products out = W·in: [out block][in][16], with
// `padded` input channels.
template <class W, class T>
void pack_matrix(const W& weight, const ChannelRange& outputs, int64_t inputs, int64_t padded, T* to) {
  const int64_t first = outputs.begin % kBlock;
  for (int64_t row = 0; row < outputs.count(); ++row) {
    const int64_t o = first + row;
    for (int64_t c = 0; c < inputs; ++c) to[(o / kBlock * padded + c) * kBlock + o % kBlock] = weight(row * inputs + c);
  }
}

// f(a row's place in the matrix, its place in [in block][out][16], how many neighbours are there).
template <class F>
void each_transposed(const ChannelRange& outputs, int64_t inputs, const F& f) {
  const int64_t first = outputs.begin % kBlock, rows = outputs.blocks() * kBlock;
  for (int64_t row = 0; row < outputs.count(); ++row) {
    for (int64_t c = 0; c < inputs; c += kBlock)
      f(row * inputs + c, (c / kBlock * rows + first + row) * kBlock, std::min(kBlock, inputs - c));
  }
}

// The same matrix for products with its transpose, [in block][out][16].
template <class W, class T>
void pack_matrix_transposed(const W& weight, const ChannelRange& outputs, int64_t inputs, T* to) {
  each_transposed(outputs, inputs, [&](int64_t from, int64_t at, int64_t count) {
    for (int64_t k = 0; k < count; ++k) to[at + k] = weight(from + k);
  });
}

// The gradient of the matrix, [in block][out][16] too: put(i, value).
template <class T, class F>
void unpack_matrix(const T* from, const ChannelRange& outputs, int64_t inputs, const F& put) {
  each_transposed(outputs, inputs, [&](int64_t to, int64_t at, int64_t count) {
    for (int64_t k = 0; k < count; ++k) put(to + k, from[at + k]);
  });
}

}  // namespace base_fast
