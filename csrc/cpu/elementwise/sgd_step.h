// Elements [begin, end) of flat vectors.
#pragma once

#include <cstdint>

#include "../../core/types.h"
#include "../isa/per_isa.h"

namespace base_fast {
BF_FOR_EACH_ISA(

// Σ g².
template <class T>
double sgd_square(const T* gradient, int64_t begin, int64_t end);

// Reads x and g, writes x − rate·g.
template <class T>
void sgd_update(const T* x, const T* gradient, double rate, T* after, int64_t begin, int64_t end);

)
}  // namespace base_fast
