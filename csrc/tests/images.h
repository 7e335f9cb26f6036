// Tensors of layouts.h as the images that kernels on blocks of channels take.
#pragma once

#include "../cpu/image_rows.h"
#include "layouts.h"

namespace images {

template <class E>
base_fast::Image<const E> read(const layouts::Tensor<E>& x) {
  return {x.storage.data(), x.strides[0], x.strides[1], x.strides[2], x.strides[3]};
}
template <class E>
base_fast::Image<E> written(layouts::Tensor<E>& x) {
  return {x.storage.data(), x.strides[0], x.strides[1], x.strides[2], x.strides[3]};
}

}  // namespace images
