// Work over PyTorch's own threads, cut so that results do not depend on how many there are.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>

namespace base_fast {

// Elements of one cut: a multiple of every block of noise and vector, small enough to balance, large enough to start.
constexpr int64_t kCut = 16384;

inline int64_t cuts(int64_t count, int64_t cut = kCut) { return (count + cut - 1) / cut; }

// f(begin, end) over [0, count) in whole cuts; a thread may get several neighbouring ones at once.
template <class F>
void parallel(int64_t count, const F& f, int64_t cut = kCut) {
  if (count == 0) return;
  if (count <= cut) return f(int64_t{0}, count);
  torch::stable::parallel_for(0, cuts(count, cut), 1, [&](int64_t first, int64_t last) {
    f(first * cut, std::min(last * cut, count));
  });
}

// f(cut, begin, end) for every single cut: for reductions, which keep one partial result per cut.
template <class F>
void parallel_cuts(int64_t count, const F& f) {
  const auto one = [&](int64_t cut) { f(cut, cut * kCut, std::min((cut + 1) * kCut, count)); };
  if (count <= kCut) {
    if (count > 0) one(0);
    return;
  }
  torch::stable::parallel_for(0, cuts(count), 1, [&](int64_t first, int64_t last) {
    for (int64_t cut = first; cut < last; ++cut) one(cut);
  });
}

}  // namespace base_fast
