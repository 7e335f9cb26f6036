#include "per_isa.h"
#include "standard.h"
#include "../../core/types.h"

#define BF_ISA baseline
#include "all_kernels.h"
