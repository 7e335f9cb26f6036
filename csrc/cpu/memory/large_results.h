// Results that no near cache holds until somebody reads them.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace base_fast {

// From here on memory is fresh from the system rather than used before.
constexpr size_t kLarge = size_t{16} << 20;
constexpr size_t kHugePage = size_t{2} << 20;

// The system hands out fresh memory page by page as it is first written; for pages of 4 KiB that takes longer than the
// writing itself, so whole pages of 2 MiB are asked for, where some are sure to fit.
inline void prefer_huge_pages(void* data, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (bytes < 2 * kHugePage) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) & ~(kHugePage - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kHugePage - 1);
  // Only an advice: to fail is harmless.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

// Whether `count` results of so many bytes each are written past the caches (elementwise/stream.h): together they are
// large, but the memory of each was used before. Fresh memory has just been cleared by the system, and is near.
inline bool is_streamed(size_t count, size_t bytes) { return count * bytes >= kLarge && bytes < kLarge; }

}  // namespace base_fast
