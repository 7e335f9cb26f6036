// A thread takes one Philox block: four elements, of which it reads μ and ρ and writes θ.
#pragma once

#include "device.h"

#include "../core/gaussian_sample.h"
#include "../core/philox.h"

namespace base_fast {
namespace BF_ISA {

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    gaussian_sample_kernel(const T* __restrict__ mu, const T* __restrict__ rho, const int64_t* __restrict__ key,
                           T* __restrict__ theta, int64_t count, bool aligned) {
  using C = compute_t<T>;
  const Key k = load_key(key);
  for (int64_t quad = thread_index(); 4 * quad < count; quad += thread_count()) {
    const Noise4 epsilon = normal4(k, quad);
    const Four<T> m = load4(mu, quad, count, aligned), r = load4(rho, quad, count, aligned);
    Four<T> y;
    BF_UNROLL
    for (int j = 0; j < 4; ++j) {
      y.x[j] = from_float<T>(gaussian_theta<C>(to_float(m.x[j]), to_float(r.x[j]), C(epsilon.x[j])));
    }
    store4(theta, quad, count, aligned, y);
  }
}

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    gaussian_sample_backward_kernel(const T* __restrict__ grad, const T* __restrict__ rho,
                                    const int64_t* __restrict__ key, T* __restrict__ d_rho, int64_t count,
                                    bool aligned) {
  using C = compute_t<T>;
  const Key k = load_key(key);
  for (int64_t quad = thread_index(); 4 * quad < count; quad += thread_count()) {
    const Noise4 epsilon = normal4(k, quad);
    const Four<T> g = load4(grad, quad, count, aligned), r = load4(rho, quad, count, aligned);
    Four<T> y;
    BF_UNROLL
    for (int j = 0; j < 4; ++j) {
      y.x[j] = from_float<T>(gaussian_d_rho<C>(to_float(g.x[j]), to_float(r.x[j]), C(epsilon.x[j])));
    }
    store4(d_rho, quad, count, aligned, y);
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
