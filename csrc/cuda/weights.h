// One number per branch → one per weight.
#pragma once

#include "reduce.h"
#include "walk.h"

namespace base_fast {
namespace BF_ISA {

// Which weight each branch of a launch has.
struct Positions {
  int count;
  int64_t at[kBranches];
};

// Block l: d_weights[l] = Σ of the rows of partials (branches, parts) whose branch has weight l. A list of more than
// kBranches takes several launches, which pass on `sums`.
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    d_weights_kernel(const double* __restrict__ partials, int64_t parts, Positions positions, double* sums, bool first,
                     bool last, T* __restrict__ d_weights) {
  const int64_t l = blockIdx.x;
  double sum = 0.0;
  for (int k = 0; k < positions.count; ++k) {
    if (positions.at[k] == l) sum += total(partials + k * parts, parts);
  }
  if (threadIdx.x == 0) {
    if (!first) sum += sums[l];
    sums[l] = sum;
    if (last) d_weights[l] = from_float<T>(static_cast<compute_t<T>>(sum));
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
