// Memory that a kernel works in.
#pragma once

#include "mixed_op_edge.h"

namespace base_fast {

// Scratch memory of one thread. It grows to what the largest call needs and stays, as fresh memory would cost a page
// fault for every 4 KiB of it in every pass.
template <class T>
T* scratch_of(int64_t count) {
  thread_local Buffer<T> buffer;
  thread_local int64_t size = 0;
  if (count > size) {
    buffer = Buffer<T>(count);
    size = count;
  }
  return buffer.get();
}

}  // namespace base_fast
