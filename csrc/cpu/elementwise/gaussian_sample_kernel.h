// The kernels of gaussian_sample.
#pragma once

#include "gaussian_sample.h"

#include "../../core/bfloat16.h"
#include "../../core/gaussian_sample.h"
#include "noise.h"

namespace base_fast {
namespace BF_ISA {

template <class T>
void gaussian_sample(const T* BF_RESTRICT mu, const T* BF_RESTRICT rho, T* BF_RESTRICT theta, int64_t begin,
                     int64_t end, Key key) {
  using C = compute_t<T>;
  for_noise_blocks<normal_block>(
      key, begin, end,
      [&](int64_t start, int count, const float* epsilon) {
        for (int j = 0; j < count; ++j) {
          const int64_t i = start + j;
          theta[i] = from_float<T>(gaussian_theta<C>(to_float(mu[i]), to_float(rho[i]), epsilon[j]));
        }
      },
      mu, rho);
}

template <class T>
void gaussian_sample_backward(const T* BF_RESTRICT grad, const T* BF_RESTRICT rho, T* BF_RESTRICT d_rho, int64_t begin,
                              int64_t end, Key key) {
  using C = compute_t<T>;
  for_noise_blocks<normal_block>(
      key, begin, end,
      [&](int64_t start, int count, const float* epsilon) {
        for (int j = 0; j < count; ++j) {
          const int64_t i = start + j;
          d_rho[i] = from_float<T>(gaussian_d_rho<C>(to_float(grad[i]), to_float(rho[i]), epsilon[j]));
        }
      },
      grad, rho);
}

#define BF_INSTANTIATE(T)                                                          \
  template void gaussian_sample<T>(const T*, const T*, T*, int64_t, int64_t, Key); \
  template void gaussian_sample_backward<T>(const T*, const T*, T*, int64_t, int64_t, Key);
BF_INSTANTIATE(float)
BF_INSTANTIATE(double)
BF_INSTANTIATE(bfloat16)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
