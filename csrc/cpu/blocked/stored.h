// The type that a plan's numbers are stored in.
#pragma once

#include "../isa/vector_bfloat16.h"
#include "layout.h"

namespace base_fast {
namespace BF_ISA {
namespace blocked {

using namespace simd;

// Calls f with a null pointer of the type that is stored.
template <class T, class F>
BF_INLINE void with_storage(Storage storage, const F& f) {
  if constexpr (std::is_same_v<T, float>) {
    if (storage == Storage::bfloat16) return f(static_cast<bfloat16*>(nullptr));
  }
  f(static_cast<T*>(nullptr));
}

}  // namespace blocked
}  // namespace BF_ISA
}  // namespace base_fast
