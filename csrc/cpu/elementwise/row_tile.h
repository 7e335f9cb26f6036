// Softmax over short rows, many at a time, or over one long row: 16 lanes wide either way.
//
// Short rows are transposed, so that a lane holds a row and the steps along the row are the same for all lanes. A long
// row fills the lanes itself, element k·16 + lane in step k, and its lanes' results are folded into one.
#pragma once

#include "../../core/bfloat16.h"
#include "../../core/gumbel_softmax.h"

namespace base_fast {
namespace BF_ISA {

constexpr int kLanes = 16;

// tile[l][r] = rows[r][l] for the `count` ≤ 16 rows of a tile.
template <int kLength, class T>
BF_HD void transpose_in(const T* BF_RESTRICT rows, int count, int length, compute_t<T>* BF_RESTRICT tile) {
  const int n = kLength > 0 ? kLength : length;
  const auto move = [&](int some) __attribute__((always_inline)) {
    for (int r = 0; r < some; ++r) {
      for (int l = 0; l < n; ++l) tile[l * kLanes + r] = to_float(rows[r * n + l]);
    }
  };
  count == kLanes ? move(kLanes) : move(count);  // the known number vectorizes
}

template <int kLength, class T>
BF_HD void transpose_out(const compute_t<T>* BF_RESTRICT tile, int count, int length, T* BF_RESTRICT rows) {
  const int n = kLength > 0 ? kLength : length;
  const auto move = [&](int some) __attribute__((always_inline)) {
    for (int r = 0; r < some; ++r) {
      for (int l = 0; l < n; ++l) rows[r * n + l] = from_float<T>(tile[l * kLanes + r]);
    }
  };
  count == kLanes ? move(kLanes) : move(count);
}

// One value per lane, and its folds over the lanes, in a fixed order.
template <class C>
struct LaneValues {
  C at[kLanes];

  BF_HD void fold_max() {
    C most = at[0];
    for (C one : at) most = one > most ? one : most;
    for (C& one : at) one = most;
  }
  BF_HD void fold_sum() {
    C sum = at[0];
    for (int lane = 1; lane < kLanes; ++lane) sum += at[lane];
    for (C& one : at) one = sum;
  }
};

// x ← softmax(x). With `kOneRow` the tile is one row of `length`,
// filled up with −inf; else 16 rows.
template <int kLength, bool kOneRow, class C>
BF_HD void softmax_tile(C* BF_RESTRICT x, int64_t length) {
  const int64_t steps = kLength > 0 ? kLength : (kOneRow ? (length + kLanes - 1) / kLanes : length);
  LaneValues<C> most, sum = {};
  for (int lane = 0; lane < kLanes; ++lane) most.at[lane] = x[lane];
  for (int64_t k = 1; k < steps; ++k) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const C one = x[k * kLanes + lane];
      most.at[lane] = one > most.at[lane] ? one : most.at[lane];
    }
  }
  if (kOneRow) most.fold_max();
  for (int64_t k = 0; k < steps; ++k) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const C y = exp_negative(x[k * kLanes + lane] - most.at[lane]);
      x[k * kLanes + lane] = y;
      sum.at[lane] += y;
    }
  }
  if (kOneRow) sum.fold_sum();
  LaneValues<C> inverse;
  for (int lane = 0; lane < kLanes; ++lane) inverse.at[lane] = C(1) / sum.at[lane];
  for (int64_t k = 0; k < steps; ++k) {
    for (int lane = 0; lane < kLanes; ++lane) x[k * kLanes + lane] *= inverse.at[lane];
  }
}

// z ← the one-hot of its first largest entry as T stores it; NaN where z is.
template <class T, int kLength, bool kOneRow>
BF_HD void one_hot_tile(compute_t<T>* BF_RESTRICT z, int64_t length) {
  using C = compute_t<T>;
  const int64_t steps = kLength > 0 ? kLength : (kOneRow ? (length + kLanes - 1) / kLanes : length);
  LaneValues<C> most;
  LaneValues<int32_t> first = {};
  for (C& one : most.at) one = C(-1);
  for (int64_t k = 0; k < steps; ++k) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const C one = to_float(from_float<T>(z[k * kLanes + lane]));
      first.at[lane] = one > most.at[lane] ? static_cast<int32_t>(k) : first.at[lane];
      most.at[lane] = one > most.at[lane] ? one : most.at[lane];
    }
  }
  if (kOneRow) {
    int best = 0;
    for (int lane = 1; lane < kLanes; ++lane) {
      const bool earlier = most.at[lane] == most.at[best] && first.at[lane] < first.at[best];
      if (most.at[lane] > most.at[best] || earlier) best = lane;
    }
    for (int lane = 0; lane < kLanes; ++lane) first.at[lane] = lane == best ? first.at[best] : -1;
  }
  for (int64_t k = 0; k < steps; ++k) {
    for (int lane = 0; lane < kLanes; ++lane) {
      C& one = z[k * kLanes + lane];
      one = (first.at[lane] == k ? C(1) : C(0)) + (one - one);
    }
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
