// Σ_k w_k·x_k and its gradients, of one element.
#pragma once

#include "macros.h"

namespace base_fast {
namespace BF_ISA {

// The sum with one more branch.
template <class C>
BF_HD C mixed_sum_term(C sum, C weight, C x) {
  return sum + weight * x;
}

template <class C>
BF_HD C mixed_sum_d_branch(C grad, C weight) {
  return weight * grad;
}

// What an element adds to the weight's gradient.
template <class C>
BF_HD C mixed_sum_d_weight(C grad, C x) {
  return grad * x;
}

}  // namespace BF_ISA
}  // namespace base_fast
