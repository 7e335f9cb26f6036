#include "per_isa.h"
#include "standard.h"
#include "../../core/types.h"

#if BF_MULTI_ISA
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,prefer-vector-width=512")
#define BF_ISA avx512
#include "all_kernels.h"
#endif
