// One tile of branches of any strides.
#pragma once

#include <cstdint>

#include "../../core/types.h"
#include "../isa/per_isa.h"
#include "block.h"

namespace base_fast {

// Branches that are added in registers, elements of a branch that are projected before the next branch's, and the sums
// that a projection is made of.
constexpr int64_t kSumAtOnce = 8;
constexpr int64_t kPiece = 512;
constexpr int64_t kProductLanes = 32;

BF_FOR_EACH_ISA(

// y = Σ_k weights[k]·x[k], y dense. `scratch`: kSumAtOnce tiles, touched only for branches whose columns are apart;
// `sums`: a tile, touched only for more than kSumAtOnce branches.
template <class T, class C>
void mixed_sum(const Block<const T>* x, const double* weights, int64_t branches, T* y, int64_t rows, int64_t columns,
               T* scratch, C* sums);

// dx[k] = weights[k]·grad, past the caches if `streamed`, and products[k] = Σ grad·x[k]. `scratch`: three tiles; `sums`:
// kProductLanes for each branch.
template <class T, class C>
void mixed_sum_backward(Block<const T> grad, const Block<const T>* x, const double* weights, int64_t branches,
                        const Block<T>* dx, double* products, int64_t rows, int64_t columns, bool streamed, T* scratch,
                        C* sums);

)
}  // namespace base_fast
