// Sums in double whose order of additions depends neither on the instruction set nor on the number of threads.
#pragma once

#include "../../core/macros.h"

namespace base_fast {
namespace BF_ISA {

struct Sum {
  static constexpr int kLanes = 16;
  double lanes[kLanes] = {};

  // Element j goes to lane j mod 16: vectors of any width add the same pairs.
  template <class C>
  BF_HD void add(const C* BF_RESTRICT terms, int count) {
    double sums[kLanes];  // a copy, which lives in registers
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] = lanes[lane];
    int j = 0;
    for (; j + kLanes <= count; j += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) sums[lane] += terms[j + lane];
    }
    for (int lane = 0; j + lane < count; ++lane) sums[lane] += terms[j + lane];
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = sums[lane];
  }

  BF_HD double total() const {
    double sum = 0.0;
    for (double lane : lanes) sum += lane;
    return sum;
  }
};

}  // namespace BF_ISA
}  // namespace base_fast
