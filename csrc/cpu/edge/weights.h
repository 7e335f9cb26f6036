// A mixed edge's weights by blocks of channels, and their gradients back. Included by edge_group.h.
#pragma once

#include "../blocked/packing.h"
#include "edge_group.h"

namespace base_fast {

template <class T>
void EdgeGroup<T>::pack(Direction direction, int64_t s) {
  Stage<T>& stage = stages_[size_t(s)];
  const Source& source = sources_[size_t(s)];
  const int64_t channels = plan.channels, padded = plan.padded_channels(), taps = stage.taps();
  const bool forward = direction == Direction::forward;
  T *packed = packed_.get(), *transposed = packed + plan.weights;
  stage.depthwise = packed + stage.depthwise_at;
  stage.scattered = transposed + stage.depthwise_at;
  stage.pointwise = packed + stage.pointwise_at;
  stage.transposed = transposed + stage.pointwise_at;
  // Blocks that the weights do not fill; the halves of a factorized reduction may share one.
  if (channels < padded || stage.products() > 1) {
    const size_t bytes = size_t(padded * taps + stage.products() * padded * padded) * sizeof(T);
    std::memset(packed + stage.depthwise_at, 0, bytes);
    std::memset(transposed + stage.depthwise_at, 0, bytes);
  }
  if (stage.kind == StageKind::convolution) {
    const T* w = weights_[size_t(source.depthwise)];
    const auto weight = [w](int64_t i) { return w[i]; };
    pack_filters(weight, channels, taps, packed + stage.depthwise_at);
    if (!forward)
      pack_filters_transposed(weight, channels, stage.kernel, stage.stride, stage.dilation,
                              transposed + stage.depthwise_at);
  }
  for (int product = 0; product < stage.products(); ++product) {
    const T* w = weights_[size_t(source.matrix(stage, product))];
    const auto weight = [w](int64_t i) { return w[i]; };
    const int64_t at = stage.pointwise_at + product * padded * padded;
    // Backward computes again what it was not given.
    if (forward || !stage.kept) pack_matrix(weight, stage.outputs_of(product, channels), channels, padded, packed + at);
    if (!forward) pack_matrix_transposed(weight, stage.outputs_of(product, channels), channels, transposed + at);
  }
}

template <class T>
void EdgeGroup<T>::unpack(int64_t s, const std::vector<T*>& to) const {
  const Stage<T>& stage = stages_[size_t(s)];
  const Source& source = sources_[size_t(s)];
  const T* gradients = plan.weight_gradients;
  if (stage.kind == StageKind::convolution) {
    T* w = to[size_t(source.depthwise)];
    unpack_filters(gradients + stage.depthwise_at, plan.channels, stage.taps(),
                   [w](int64_t i, T value) { w[i] = value; });
  }
  for (int product = 0; product < stage.products(); ++product) {
    T* w = to[size_t(source.matrix(stage, product))];
    unpack_matrix(gradients + stage.pointwise_at + product * plan.padded_channels() * plan.padded_channels(),
                  stage.outputs_of(product, plan.channels), plan.channels, [w](int64_t i, T value) { w[i] = value; });
  }
}

}  // namespace base_fast
