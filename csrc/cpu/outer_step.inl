#include "outer_step.h"

#include "../core/bfloat16.h"
#include "../core/outer_step.h"

namespace base_fast {
namespace BF_ISA {

// sums[i] = (first ? 0 : sums[i]) + Σ of N vectors from `begin` on.
template <int N, bool first, class T, class C>
inline void add_vectors(const T* const* x, int64_t begin, C* BF_RESTRICT sums, int64_t count) {
  const T *x0 = x[0] + begin, *x1 = x[N > 1] + begin, *x2 = x[N > 2 ? 2 : 0] + begin, *x3 = x[N > 3 ? 3 : 0] + begin;
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    C sum = first ? to_float(x0[i]) : sums[i] + to_float(x0[i]);
    if (N > 1) sum += to_float(x1[i]);
    if (N > 2) sum += to_float(x2[i]);
    if (N > 3) sum += to_float(x3[i]);
    sums[i] = sum;
  }
}

template <bool first, class T, class C>
inline void add_vector_group(int64_t group, const T* const* x, int64_t begin, C* sums, int64_t count) {
  switch (group) {
    case 1: return add_vectors<1, first>(x, begin, sums, count);
    case 2: return add_vectors<2, first>(x, begin, sums, count);
    case 3: return add_vectors<3, first>(x, begin, sums, count);
    default: return add_vectors<4, first>(x, begin, sums, count);
  }
}

template <class T>
void outer_step(const T* prior, const T* const* adapted, int64_t count, double step_size, T* after, int64_t begin,
                int64_t end) {
  using C = compute_t<T>;
  constexpr int64_t most = 4096, at_once = 4;
  alignas(64) C sums[most];
  const C step = static_cast<C>(step_size), tasks = static_cast<C>(count);
  for (int64_t start = begin; start < end; start += most) {
    const int64_t length = end - start < most ? end - start : most;
    for (int64_t c = 0; c < count; c += at_once) {
      const int64_t group = count - c < at_once ? count - c : at_once;
      if (c == 0) {
        add_vector_group<true>(group, adapted, start, sums, length);
      } else {
        add_vector_group<false>(group, adapted + c, start, sums, length);
      }
    }
    const T* from = prior + start;
    T* to = after + start;
#pragma GCC ivdep
    for (int64_t i = 0; i < length; ++i) {
      to[i] = from_float<T>(outer_step_prior<C>(to_float(from[i]), sums[i], tasks, step));
    }
  }
}

#define BF_INSTANTIATE(T) \
  template void outer_step<T>(const T*, const T* const*, int64_t, double, T*, int64_t, int64_t);
BF_INSTANTIATE(float)
BF_INSTANTIATE(double)
BF_INSTANTIATE(bfloat16)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
