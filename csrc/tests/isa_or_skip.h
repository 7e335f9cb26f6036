// The instruction set that BASE_FAST_ISA asks for, or exit status 77 where this processor lacks it.
#pragma once

#include <cstdio>
#include <exception>

#include "../cpu/isa.h"

#define BF_ISA_OR_SKIP()                  \
  try {                                   \
    base_fast::isa();                     \
  } catch (const std::exception& error) { \
    std::printf("%s\n", error.what());    \
    return 77;                            \
  }
