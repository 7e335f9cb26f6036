// Includes BF_DECLARATIONS once per instruction set (see per_isa.h). No include guard: each op's file needs its own.
#include "per_isa.h"
#include "../core/types.h"

#if BF_MULTI_ISA
#define BF_ISA avx512
#include BF_DECLARATIONS
#undef BF_ISA
#define BF_ISA avx2
#include BF_DECLARATIONS
#undef BF_ISA
#endif
#define BF_ISA baseline
#include BF_DECLARATIONS
#undef BF_ISA
#undef BF_DECLARATIONS
