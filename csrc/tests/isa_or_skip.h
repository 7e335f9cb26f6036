// Every test's first line: the instruction set that BASE_FAST_ISA asks for, or exit status 77 where this processor
// lacks it, and memory that holds NaN until it is written.
#pragma once

#include <cstdio>
#include <exception>

#include "../cpu/isa/isa.h"
#include "../cpu/memory/poison.h"

#define BF_ISA_OR_SKIP()                  \
  base_fast::poisons = true;              \
  try {                                   \
    base_fast::isa();                     \
  } catch (const std::exception& error) { \
    std::printf("%s\n", error.what());    \
    return 77;                            \
  }
