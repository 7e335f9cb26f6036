// Mean and variance of channels, one pass over the values.
#pragma once

#include "../isa/vector.h"
#include "../memory/scratch.h"
#include "moments_merge.h"
#include "stored.h"

namespace base_fast {
namespace BF_ISA {
namespace blocked {

// Adds the lanes of v to as many doubles.
BF_INLINE void add_to_sums(double* to, Vec<double> v) { store(to, load(to) + v); }
BF_INLINE void add_to_sums(double* to, Vec<float> v) {
  typedef float Half __attribute__((vector_size(kBytes / 2)));
  Half halves[2];
  std::memcpy(halves, &v, sizeof(v));
  for (int i = 0; i < 2; ++i) {
    double* half = to + i * kWidth<double>;
    store(half, load(half) + __builtin_convertvector(halves[i], Vec<double>));
  }
}

// Sums of x − shift and (x − shift)², where the shift is the first value: at a mean far from zero, plain sums would
// have no digits left for the variance. In T within a chunk, in double over chunks. In the order: reset(), add() of the
// first chunk of every block, `empty` = false, add() of others, merge().
template <class T>
struct Moments {
  T* shift;
  double* first;
  double* second;
  int64_t padded;
  bool empty;

  static Moments take(Scratch<T>& scratch, int64_t padded) {
    constexpr int64_t kPerDouble = sizeof(double) / sizeof(T);
    T* shift = scratch.take(padded);
    double* sums = reinterpret_cast<double*>(scratch.take(2 * padded * kPerDouble));
    return {shift, sums, sums + padded, padded, true};
  }
  void reset() {
    empty = true;
    std::memset(first, 0, size_t(2 * padded) * sizeof(double));
  }
  // `count` pixels of block b. The first call for a block must come while `empty` holds.
  void add(int64_t b, const T* x, int64_t count) {
    for (int64_t part = b * kBlock; part < (b + 1) * kBlock; part += kWidth<T>) {
      const T* p = x + (part - b * kBlock);
      if (empty) store(shift + part, load(p));
      const Vec<T> s = load(shift + part);
      Vec<T> sum[4] = {}, square[4] = {};
      int64_t j = 0;
      for (; j + 4 <= count; j += 4, p += 4 * kBlock) {
#pragma GCC unroll 4
        for (int l = 0; l < 4; ++l) {
          const Vec<T> d = load(p + l * kBlock) - s;
          sum[l] += d;
          square[l] = fma(d, d, square[l]);
        }
      }
      for (; j < count; ++j, p += kBlock) {
        const Vec<T> d = load(p) - s;
        sum[0] += d;
        square[0] = fma(d, d, square[0]);
      }
      add_to_sums(first + part, (sum[0] + sum[1]) + (sum[2] + sum[3]));
      add_to_sums(second + part, (square[0] + square[1]) + (square[2] + square[3]));
    }
  }
  // Merge `count` values per channel into the mean and Σ(x − mean)² of `before` others; of none, whatever they hold.
  void merge(double* mean, double* square, int64_t before, int64_t count) const {
    const MomentsMerge merge(before, count);
    for (int64_t c = 0; c < padded; ++c) {
      const double m = shift[c] + first[c] / double(count), s = second[c] - first[c] * first[c] / double(count);
      square[c] = before == 0 ? s : square[c] + s + merge.between(mean[c], m);
      mean[c] = before == 0 ? m : merge.mean(mean[c], m);
    }
  }
};

}  // namespace blocked
}  // namespace BF_ISA
}  // namespace base_fast
