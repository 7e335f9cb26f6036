// x − η·s·g, of one element, and s.
#pragma once

#include "macros.h"

namespace base_fast {
namespace BF_ISA {

// min(1, clip/norm), NaN if the norm is; without a clip > 0 it is 1.
BF_HD double sgd_scale(double clip, double norm) {
  if (!(clip > 0.0)) return 1.0;
  const double scale = clip / norm;
  return scale > 1.0 ? 1.0 : scale;
}

// `rate`: η·s.
template <class C>
BF_HD C sgd_variable(C x, C rate, C gradient) {
  return x - rate * gradient;
}

}  // namespace BF_ISA
}  // namespace base_fast
