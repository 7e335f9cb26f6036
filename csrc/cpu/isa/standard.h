// Every header that kernels use. The instruction-set wrappers include it before they change the target, so that no
// inline function of the standard library is compiled for processors that other code may not run on.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
