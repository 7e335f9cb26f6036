// A batch cut into groups, which threads work on one by one: by shape alone, so that sums over them do not depend on
// the number of threads.
#pragma once

#include <cstdint>

namespace base_fast {

// How many there are of so many images: `kMostGroups` at most. Many small ones balance the threads, and a power of two
// most numbers of them; partial weight gradients should stay small beside the activations.
constexpr int64_t kMostGroups = 64;
inline int64_t groups_of(int64_t images, int64_t weights) {
  int64_t groups = kMostGroups;
  while (groups > 8 && groups * weights > int64_t{1} << 19) groups /= 2;
  return images < groups ? images : groups;
}

// A thread's memory during one pass. `fresh` until the thread has worked there: what stays the same is written then.
template <class T>
struct Workspace {
  T* memory;
  bool fresh;
  int64_t next_group;  // that the thread will probably take, or −1
};

// The groups' results [begin, end), of `size` each, added up into the first group's, in a fixed order and in double.
template <class T>
void merge_groups(T* results, int64_t groups, int64_t size, int64_t begin, int64_t end) {
  constexpr int64_t kAtOnce = 256;
  for (; begin < end; begin += kAtOnce) {
    const int64_t count = end - begin < kAtOnce ? end - begin : kAtOnce;
    double totals[kAtOnce] = {};
    T* first = results + begin;
    for (int64_t g = 0; g < groups; ++g) {
      const T* more = first + g * size;
      for (int64_t i = 0; i < count; ++i) totals[i] += double(more[i]);
    }
    for (int64_t i = 0; i < count; ++i) first[i] = T(totals[i]);
  }
}

}  // namespace base_fast
