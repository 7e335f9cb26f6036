// Work over PyTorch's own threads, cut by its size alone, so that results do not depend on how many there are.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>

#include "../elementwise/tiles.h"
#include "../memory/groups.h"

namespace base_fast {

// f(begin, end) for ranges that make up [0, count); fewer than `grain` are not worth a thread.
template <class F>
void parallel_ranges(int64_t count, int64_t grain, const F& f) {
  if (count > grain) {
    torch::stable::parallel_for(0, count, grain, f);
  } else if (count > 0) {
    f(int64_t{0}, count);
  }
}

// f(i) for all i < count.
template <class F>
void parallel_each(int64_t count, int64_t grain, const F& f) {
  parallel_ranges(count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// Elements of one cut: a multiple of every block of noise and vector, small enough to balance, large enough to start.
constexpr int64_t kCut = 16384;

inline int64_t cuts(int64_t count, int64_t cut = kCut) { return (count + cut - 1) / cut; }

// f(begin, end) over [0, count) in whole cuts; a thread may get several neighbouring ones at once.
template <class F>
void parallel(int64_t count, const F& f, int64_t cut = kCut) {
  parallel_ranges(cuts(count, cut), 1,
                  [&](int64_t first, int64_t last) { f(first * cut, std::min(last * cut, count)); });
}

// f(cut, begin, end) for every single cut: for reductions, which keep one partial result per cut.
template <class F>
void parallel_cuts(int64_t count, const F& f) {
  parallel_each(cuts(count), 1, [&](int64_t cut) { f(cut, cut * kCut, std::min((cut + 1) * kCut, count)); });
}

// f(tile, scratch) for every tile, where `scratch` comes from new_scratch(), one for each run of tiles of a thread.
template <class R, class F>
void parallel_tiles(const Tiles& tiles, const R& new_scratch, const F& f) {
  const int64_t grain = std::max<int64_t>(1, kCut / std::max<int64_t>(1, tiles.elements()));
  parallel_ranges(tiles.count(), grain, [&](int64_t begin, int64_t end) {
    auto scratch = new_scratch();
    tiles.each(begin, end, [&](const Tile& tile) { f(tile, scratch); });
  });
}

// `merge_groups` of all results.
template <class T>
void parallel_merge(T* results, int64_t groups, int64_t size) {
  constexpr int64_t kGrain = 1024;
  parallel_ranges(size, kGrain, [&](int64_t begin, int64_t end) { merge_groups(results, groups, size, begin, end); });
}

}  // namespace base_fast
