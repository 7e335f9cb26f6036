// W + λ·(mean_c ψ_c − W), of one element.
#pragma once

#include "macros.h"

namespace base_fast {
namespace BF_ISA {

// `sum`: Σ_c ψ_c of `count` tasks.
template <class C>
BF_HD C outer_step_prior(C prior, C sum, C count, C step_size) {
  return prior + step_size * (sum / count - prior);
}

}  // namespace BF_ISA
}  // namespace base_fast
