// The kernels of gumbel_softmax.
#pragma once

#include "gumbel_softmax.h"

#include "../../core/bfloat16.h"
#include "../../core/gumbel_softmax.h"
#include "noise.h"
#include "row_tile.h"

namespace base_fast {
namespace BF_ISA {

constexpr int64_t kShort = 64;    // rows up to this length are transposed
constexpr int64_t kChunk = 2048;  // elements of short rows whose noise is drawn at a time

// A sampling of rows: what is the same for all of them.
template <class T>
struct Sampling {
  using C = compute_t<T>;
  const T* logits;
  T* z;
  int64_t length;
  Key key;
  C inverse_tau;
  float noise;
  bool hard;

  // scores[i − begin] = (φ + s·ξ)/τ of elements [begin, end).
  BF_HD void score(int64_t begin, int64_t end, C* BF_RESTRICT scores) const {
    const auto* const from = logits;
    const C scale = inverse_tau;
    const float s = noise;
    for_noise_blocks<gumbel_block>(
        key, begin, end,
        [&](int64_t start, int count, const float* xi) {
          const int64_t at = start - begin;
#pragma GCC ivdep
          for (int j = 0; j < count; ++j) scores[at + j] = gumbel_score<C>(to_float(from[start + j]), s * xi[j], scale);
        },
        from);
  }
};

template <int kLength, class T>
void sample_short_rows(const Sampling<T>& sampling, int64_t begin, int64_t end) {
  using C = compute_t<T>;
  alignas(64) C scores[kChunk];
  alignas(64) C tile[kShort * kLanes];
  const int64_t length = kLength > 0 ? kLength : sampling.length;
  const int n = static_cast<int>(length);
  const int64_t rows_of_chunk = kChunk / length / kLanes * kLanes;
  for (int lane = 0; lane < kLanes * n; ++lane) tile[lane] = C(0);
  for (int64_t first = begin; first < end; first += rows_of_chunk) {
    const int64_t last = first + rows_of_chunk < end ? first + rows_of_chunk : end;
    sampling.score(first * length, last * length, scores);
    for (int64_t row = first; row < last; row += kLanes) {
      const int count = static_cast<int>(row + kLanes < last ? kLanes : last - row);
      const int64_t at = (row - first) * length;
      transpose_in<kLength>(scores + at, count, n, tile);
      softmax_tile<kLength, false>(tile, length);
      if (sampling.hard) one_hot_tile<T, kLength, false>(tile, length);
      transpose_out<kLength>(tile, count, n, sampling.z + row * length);
    }
  }
}

template <class T>
void sample_long_rows(const Sampling<T>& sampling, int64_t begin, int64_t end, compute_t<T>* BF_RESTRICT scratch) {
  using C = compute_t<T>;
  const int64_t length = sampling.length, padded = (length + kLanes - 1) / kLanes * kLanes;
  for (int64_t row = begin; row < end; ++row) {
    sampling.score(row * length, (row + 1) * length, scratch);
    for (int64_t i = length; i < padded; ++i) scratch[i] = -static_cast<C>(HUGE_VAL);
    softmax_tile<0, true>(scratch, length);
    if (sampling.hard) one_hot_tile<T, 0, true>(scratch, length);
    T* const z = sampling.z + row * length;
    for (int64_t l = 0; l < length; ++l) z[l] = from_float<T>(scratch[l]);
  }
}

template <class T, class C>
void gumbel_softmax(const T* logits, T* z, int64_t begin, int64_t end, int64_t length, Key key, double tau, bool hard,
                    double noise, C* scratch) {
  const Sampling<T> sampling{logits, z, length, key, static_cast<C>(1.0 / tau), static_cast<float>(noise), hard};
  if (length == 8) return sample_short_rows<8>(sampling, begin, end);
  if (length <= kShort) return sample_short_rows<0>(sampling, begin, end);
  sample_long_rows(sampling, begin, end, scratch);
}

// The gradient of rows: what is the same for all of them.
template <class T>
struct Gradient {
  using C = compute_t<T>;
  const T* grad;
  const T* z;
  T* d_logits;
  int64_t length;
  C inverse_tau;

  BF_HD C d_logit(C g, C value, C inner) const { return gumbel_softmax_d_logit(g, value, inner, inverse_tau); }
};

template <int kLength, class T>
void short_row_gradients(const Gradient<T>& gradient, int64_t begin, int64_t end) {
  using C = compute_t<T>;
  alignas(64) C g[kShort * kLanes], z[kShort * kLanes];
  const int n = kLength > 0 ? kLength : static_cast<int>(gradient.length);
  for (int i = 0; i < kLanes * n; ++i) g[i] = z[i] = C(0);
  for (int64_t row = begin; row < end; row += kLanes) {
    const int count = static_cast<int>(row + kLanes < end ? kLanes : end - row);
    transpose_in<kLength>(gradient.grad + row * n, count, n, g);
    transpose_in<kLength>(gradient.z + row * n, count, n, z);
    LaneValues<C> inner = {};
    for (int l = 0; l < n; ++l) {
      for (int r = 0; r < kLanes; ++r) inner.at[r] += g[l * kLanes + r] * z[l * kLanes + r];
    }
    for (int l = 0; l < n; ++l) {
      for (int r = 0; r < kLanes; ++r) {
        C& one = g[l * kLanes + r];
        one = gradient.d_logit(one, z[l * kLanes + r], inner.at[r]);
      }
    }
    transpose_out<kLength>(g, count, n, gradient.d_logits + row * n);
  }
}

template <class T>
void long_row_gradients(const Gradient<T>& gradient, int64_t begin, int64_t end) {
  using C = compute_t<T>;
  const int64_t n = gradient.length;
  for (int64_t row = begin; row < end; ++row) {
    const T* BF_RESTRICT const g = gradient.grad + row * n;
    const T* BF_RESTRICT const z = gradient.z + row * n;
    T* BF_RESTRICT const d = gradient.d_logits + row * n;
    LaneValues<C> inner = {};
    int64_t l = 0;
    for (; l + kLanes <= n; l += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) inner.at[lane] += C(to_float(g[l + lane])) * to_float(z[l + lane]);
    }
    for (int lane = 0; l + lane < n; ++lane) inner.at[lane] += C(to_float(g[l + lane])) * to_float(z[l + lane]);
    inner.fold_sum();
#pragma GCC ivdep
    for (l = 0; l < n; ++l) {
      d[l] = from_float<T>(gradient.d_logit(to_float(g[l]), to_float(z[l]), inner.at[0]));
    }
  }
}

template <class T>
void gumbel_softmax_backward(const T* grad, const T* z, T* d_logits, int64_t begin, int64_t end, int64_t length,
                             double tau) {
  const Gradient<T> gradient{grad, z, d_logits, length, static_cast<compute_t<T>>(1.0 / tau)};
  if (length == 8) return short_row_gradients<8>(gradient, begin, end);
  if (length <= kShort) return short_row_gradients<0>(gradient, begin, end);
  long_row_gradients(gradient, begin, end);
}

#define BF_INSTANTIATE(T, C)                                                                                  \
  template void gumbel_softmax<T, C>(const T*, T*, int64_t, int64_t, int64_t, Key, double, bool, double, C*); \
  template void gumbel_softmax_backward<T>(const T*, const T*, T*, int64_t, int64_t, int64_t, double);
BF_INSTANTIATE(float, float)
BF_INSTANTIATE(double, double)
BF_INSTANTIATE(bfloat16, float)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
