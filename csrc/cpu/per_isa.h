// How kernels exist once per instruction set.
//
// csrc/cpu/<op>.h declares an op's kernels inside `namespace base_fast::BF_ISA` and <op>.inl defines them. The three
// wrappers isa_<name>.cpp compile every <op>.inl for one set; <op>.cpp sees all three declarations:
//
//   #define BF_DECLARATIONS "gaussian_sample.h"
//   #include "declare.h"
//   ...
//   BF_KERNEL(gaussian_sample<float>)(mu, rho, theta, begin, end, key);
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

// The address of a kernel in the instruction set in use.
#if BF_MULTI_ISA
#define BF_KERNEL(...)                                                                    \
  (::base_fast::isa() == ::base_fast::Isa::avx512 ? &::base_fast::avx512::__VA_ARGS__     \
   : ::base_fast::isa() == ::base_fast::Isa::avx2 ? &::base_fast::avx2::__VA_ARGS__       \
                                                  : &::base_fast::baseline::__VA_ARGS__)
#else
#define BF_KERNEL(...) (&::base_fast::baseline::__VA_ARGS__)
#endif
