// One tile of branches of any strides.
#pragma once

#include <cstdint>

#include "../../core/types.h"
#include "../isa/per_isa.h"
#include "block.h"

namespace base_fast {
BF_FOR_EACH_ISA(

// y = Σ_k weights[k]·x[k], y dense. `room`: four tiles, touched only for branches whose columns are apart;
// `sums`: a tile.
template <class T, class C>
void mixed_sum(const Block<const T>* x, const double* weights, int64_t branches, T* y, int64_t rows, int64_t columns,
               T* room, C* sums);

// dx[k] = weights[k]·grad, past the caches if `streamed`, and products[k] = Σ grad·x[k]. `room`: three tiles.
template <class T>
void mixed_sum_backward(Block<const T> grad, const Block<const T>* x, const double* weights, int64_t branches,
                        const Block<T>* dx, double* products, int64_t rows, int64_t columns, bool streamed,
                        T* room);

)
}  // namespace base_fast
