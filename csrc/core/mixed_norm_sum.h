// Σ_k w_k·(x_k − mean_k)·rstd_k and its gradients: the coefficients of a channel, and what becomes of an element.
#pragma once

#include "macros.h"

namespace base_fast {
namespace BF_ISA {

// (x − mean)·scale. `rest` is what the mean loses when it is rounded to the type of computation, already scaled.
template <class C>
struct NormTerm {
  C mean;
  C scale;
  double rest;
};

template <class C>
BF_HD NormTerm<C> norm_term(double weight, double mean, double rstd) {
  const C rounded = static_cast<C>(mean);
  return {rounded, static_cast<C>(weight * rstd), -(mean - static_cast<double>(rounded)) * weight * rstd};
}

// The sum with one more branch.
template <class C>
BF_HD C norm_sum_term(C sum, C scale, C mean, C x) {
  return sum + scale * (x - mean);
}

// The gradient through the statistics, w·rstd·(g − avg(g) − x̂·avg(g·x̂)), as scale·g + slope·(x − mean) + shift.
template <class C>
struct NormGradient {
  C mean;
  C scale;
  C slope;
  C shift;
};

// `g` and `gx`: averages of g and of g·(x − mean) over the channel.
template <class C>
BF_HD NormGradient<C> norm_gradient(double weight, double mean, double rstd, double g, double gx) {
  const double scale = weight * rstd;
  return {static_cast<C>(mean), static_cast<C>(scale), static_cast<C>(-scale * rstd * rstd * gx),
          static_cast<C>(-scale * g)};
}

template <class C>
BF_HD C norm_d_branch(C scale, C slope, C mean, C shift, C grad, C x) {
  return scale * grad + slope * (x - mean) + shift;
}

}  // namespace BF_ISA
}  // namespace base_fast
