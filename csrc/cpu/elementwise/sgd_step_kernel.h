// The kernels of sgd_step.
#pragma once

#include "sgd_step.h"

#include "../../core/bfloat16.h"
#include "../../core/sgd_step.h"

namespace base_fast {
namespace BF_ISA {

// Sums side by side, which vectorize.
constexpr int64_t kColumns = 256;

template <class T>
double sgd_square(const T* gradient, int64_t begin, int64_t end) {
  // In double: the squares of large float gradients would overflow.
  double sums[kColumns] = {};
  for (int64_t start = begin; start < end; start += kColumns) {
    const int64_t count = end - start < kColumns ? end - start : kColumns;
    for (int64_t j = 0; j < count; ++j) {
      const double g = to_float(gradient[start + j]);
      sums[j] += g * g;
    }
  }
  for (int64_t half = kColumns / 2; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

template <class T>
void sgd_update(const T* BF_RESTRICT x, const T* BF_RESTRICT gradient, double rate, T* BF_RESTRICT after, int64_t begin,
                int64_t end) {
  using C = compute_t<T>;
  const C r = static_cast<C>(rate);
  for (int64_t i = begin; i < end; ++i) {
    after[i] = from_float<T>(sgd_variable<C>(to_float(x[i]), r, to_float(gradient[i])));
  }
}

#define BF_INSTANTIATE(T)                                    \
  template double sgd_square<T>(const T*, int64_t, int64_t); \
  template void sgd_update<T>(const T*, const T*, double, T*, int64_t, int64_t);
BF_INSTANTIATE(float)
BF_INSTANTIATE(double)
BF_INSTANTIATE(bfloat16)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
