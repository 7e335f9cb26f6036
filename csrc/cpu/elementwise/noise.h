// Loops over flat vectors in blocks that stay in the L1 cache, with or without a block of noise.
#pragma once

#include "../../core/philox.h"

namespace base_fast {
namespace BF_ISA {

// f(start, count) for the runs of at most kNoiseBlock elements that make up [begin, end). What later runs will read of
// `arrays` is on its way meanwhile: the processor's own prefetching stops at the end of every page.
template <class F, class... T>
inline __attribute__((always_inline)) void for_blocks(int64_t begin, int64_t end, const F& f, const T*... arrays) {
  for (int64_t start = begin; start < end; start += kNoiseBlock) {
    (prefetch_block(arrays + start + 2 * kNoiseBlock), ...);
    f(start, static_cast<int>(start + kNoiseBlock < end ? kNoiseBlock : end - start));
  }
}

// f(start, count, noise) for the runs of at most kNoiseBlock elements that make up [begin, end), with the noise that
// `fill` (normal_block, gumbel_block) draws from the key for elements [start, start + count). Any begin will do; one at
// a multiple of kNoiseBlock wastes no noise. `arrays` as above.
template <void (*fill)(Key, int64_t, float*), class F, class... T>
inline __attribute__((always_inline)) void for_noise_blocks(Key key, int64_t begin, int64_t end, const F& f,
                                                            const T*... arrays) {
  alignas(64) float noise[kNoiseBlock];
  for (int64_t start = begin; start < end;) {
    const int64_t block = start - start % kNoiseBlock;
    const int64_t stop = block + kNoiseBlock < end ? block + kNoiseBlock : end;
    (prefetch_block(arrays + block + 2 * kNoiseBlock), ...);
    fill(key, block / 4, noise);
    f(start, static_cast<int>(stop - start), noise + (start - block));
    start = stop;
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
