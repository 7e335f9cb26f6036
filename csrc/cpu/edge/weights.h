// A mixed edge's weights by blocks of channels, and their gradients back. Included by mixed_op_fan.h.
#pragma once

#include <algorithm>

#include "edge_group.h"

namespace base_fast {

template <class T>
void Fan<T>::pack(Way way, int64_t s) {
  Stage<T>& stage = stages_[size_t(s)];
  const Source& source = sources_[size_t(s)];
  const int64_t channels = plan.channels, padded = plan.padded(), square = padded * padded;
  T* forward = packed_.get();
  T* back = forward + plan.weights;
  const int k = stage.kernel;
  stage.depthwise = forward + stage.depthwise_at;
  stage.scattered = back + stage.depthwise_at;
  stage.pointwise = forward + stage.pointwise_at;
  stage.transposed = back + stage.pointwise_at;
  // Blocks that the weights do not fill.
  if (channels < padded || k == 0) {
    const size_t bytes = size_t(padded * k * k + (k > 0 ? 1 : 2) * square) * sizeof(T);
    std::memset(forward + stage.depthwise_at, 0, bytes);
    std::memset(back + stage.depthwise_at, 0, bytes);
  }
  const T* w = weights_[source.depthwise];
  for (int64_t c = 0; c < channels && k > 0; ++c) {
    T* to = forward + stage.depthwise_at + c / kBlock * k * k * kBlock + c % kBlock;
    T* from = back + stage.depthwise_at + c / kBlock * k * k * kBlock + c % kBlock;
    for (int t = 0; t < k * k; ++t) to[t * kBlock] = w[c * k * k + t];
    if (way == Way::forward) continue;
    for (int a = 0; a < stage.stride; ++a) {
      for (int b = 0; b < stage.stride; ++b) {
        // The taps that pixels of this parity meet, last first.
        const int pad = stage.dilation * (k / 2);
        for (int t = k - 1; t >= 0; --t) {
          for (int u = k - 1; u >= 0; --u) {
            if ((a + pad - t * stage.dilation) % stage.stride != 0) continue;
            if ((b + pad - u * stage.dilation) % stage.stride != 0) continue;
            *from = w[c * k * k + t * k + u];
            from += kBlock;
          }
        }
      }
    }
  }
  for (int part = 0; part < (k > 0 ? 1 : 2); ++part) {
    const T* row = weights_[k > 0 || part == 1 ? source.pointwise : source.depthwise];
    const Outputs outputs = k > 0 ? Outputs{0, channels} : half_of(channels, part);
    T* to = forward + stage.pointwise_at + part * square;
    T* transposed = back + stage.pointwise_at + part * square;
    const int64_t rows = outputs.blocks() * kBlock;
    for (int64_t o = outputs.begin % kBlock; o < outputs.begin % kBlock + outputs.count(); ++o, row += channels) {
      for (int64_t c = 0; c < channels && (way == Way::forward || !stage.kept); ++c)
        to[(o / kBlock * padded + c) * kBlock + o % kBlock] = row[c];
      for (int64_t c = 0; c < channels && way != Way::forward; c += kBlock)
        std::copy_n(row + c, std::min(kBlock, channels - c), transposed + (c / kBlock * rows + o) * kBlock);
    }
  }
}

template <class T>
void Fan<T>::unpack(int64_t s, const std::vector<T*>& to) const {
  const Stage<T>& stage = stages_[size_t(s)];
  const Source& source = sources_[size_t(s)];
  const T* gradients = plan.weight_gradients;
  const int64_t channels = plan.channels, square = plan.padded() * plan.padded();
  const int k = stage.kernel;
  for (int64_t c = 0; c < channels && k > 0; ++c) {
    const T* from = gradients + stage.depthwise_at + c / kBlock * k * k * kBlock + c % kBlock;
    for (int t = 0; t < k * k; ++t) to[size_t(source.depthwise)][c * k * k + t] = from[t * kBlock];
  }
  for (int part = 0; part < (k > 0 ? 1 : 2); ++part) {
    T* row = to[size_t(k > 0 || part == 1 ? source.pointwise : source.depthwise)];
    const Outputs outputs = k > 0 ? Outputs{0, channels} : half_of(channels, part);
    const T* from = gradients + stage.pointwise_at + part * square;
    const int64_t rows = outputs.blocks() * kBlock;
    for (int64_t o = outputs.begin % kBlock; o < outputs.begin % kBlock + outputs.count(); ++o, row += channels) {
      for (int64_t c = 0; c < channels; c += kBlock)
        std::copy_n(from + (c / kBlock * rows + o) * kBlock, std::min(kBlock, channels - c), row + c);
    }
  }
}

}  // namespace base_fast
