// Images as rows of channels, a row per pixel: what nodes of a cell sum up, its statistics, and its gradients.
#pragma once

#include <cstdint>

#include "../isa/per_isa.h"

namespace base_fast {

// scale·(x − shift), both per channel.
template <class T>
struct Summand {
  const T* x;
  const T* scale;
  const T* shift;
};

// Σ `plain`, and where `mask` is above zero or no number Σ `masked` besides, written to `sum` and its ReLU to
// `rectified`, where these are not null.
template <class T>
struct ChannelSum {
  const Summand<T>* plain;
  int64_t plain_count;
  const Summand<T>* masked;
  int64_t masked_count;
  const T* mask;
  T* sum;
  T* rectified;
};

BF_FOR_EACH_ISA(

// Rows [begin, end) of a sum.
template <class T>
void channel_sum(const ChannelSum<T>& of, int64_t begin, int64_t end, int64_t channels);

// mean and Σ(x − mean)² of `rows` rows, one or more.
template <class T>
void channel_moments(const T* x, int64_t rows, int64_t channels, double* mean, double* square);

// Σ grad, (count + 1, channels) with Σ grad·(x − shift) of every summand behind it, over rows [begin, end).
template <class T>
void channel_projections(const T* grad, const Summand<T>* of, int64_t count, int64_t begin, int64_t end,
                         int64_t channels, double* sums);

// The mean of the pixels around each, 3×3 without those beyond the border, or `transposed` its gradient; of one image.
// `scratch`: (2·width + 2)·channels elements.
template <class T>
void average_3x3(const T* x, T* y, int64_t height, int64_t width, int64_t channels, bool transposed, T* scratch);

)
}  // namespace base_fast
