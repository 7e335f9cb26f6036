#include "per_isa.h"
#include "standard.h"
#include "../../core/types.h"

#if BF_MULTI_ISA
#pragma GCC target("avx2,fma")
#define BF_ISA avx2
#include "all_kernels.h"
#endif
