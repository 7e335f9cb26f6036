// Checks for tests that are a main(): each failure prints its line, and main returns `failures()`.
#pragma once

#include <cstdio>

inline int& failures() {
  static int count = 0;
  return count;
}

#define CHECK(condition)                                          \
  do {                                                            \
    if (!(condition)) {                                           \
      ++failures();                                               \
      std::printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
    }                                                             \
  } while (0)
