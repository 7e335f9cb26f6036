// How kernels exist once per instruction set.
//
// <op>.h declares an op's kernels for all sets, BF_FOR_EACH_ISA(template <class T> void f(...);), and <op>_kernel.h
// defines them inside `namespace base_fast::BF_ISA`. isa/<set>.cpp defines BF_ISA and compiles every definition for it;
// whoever calls takes the set in use: BF_KERNEL(gaussian_sample<float>)(mu, rho, theta, begin, end, key).
#pragma once

#include "isa.h"

// Clang has no `#pragma GCC target`, and other processors have no AVX: there the baseline is the only set. A build may
// ask for it alone.
#ifdef BF_BASELINE_ONLY
#define BF_MULTI_ISA 0
#elif defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define BF_MULTI_ISA 1
#else
#define BF_MULTI_ISA 0
#endif

#if BF_MULTI_ISA
// The declarations in each set's namespace.
#define BF_FOR_EACH_ISA(...) \
  namespace avx512 {         \
  __VA_ARGS__                \
  }                          \
  namespace avx2 {           \
  __VA_ARGS__                \
  }                          \
  namespace baseline {       \
  __VA_ARGS__                \
  }
// The address of a kernel in the instruction set in use.
#define BF_KERNEL(...)                                                                \
  (::base_fast::isa() == ::base_fast::Isa::avx512 ? &::base_fast::avx512::__VA_ARGS__ \
   : ::base_fast::isa() == ::base_fast::Isa::avx2 ? &::base_fast::avx2::__VA_ARGS__   \
                                                  : &::base_fast::baseline::__VA_ARGS__)
#else
#define BF_FOR_EACH_ISA(...) \
  namespace baseline {       \
  __VA_ARGS__                \
  }
#define BF_KERNEL(...) (&::base_fast::baseline::__VA_ARGS__)
#endif
