// Memory of a kernel's own.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "large_results.h"
#include "poison.h"

namespace base_fast {

// Memory aligned to cache lines; much of it in pages of 2 MiB.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count = 0) : data_(nullptr, &std::free) {
    if (count == 0) return;
    const size_t bytes = size_t(count) * sizeof(T), alignment = bytes < 2 * kHugePage ? 64 : kHugePage;
    data_.reset(static_cast<T*>(std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)));
    if (data_ == nullptr) throw std::bad_alloc();
    prefer_huge_pages(data_.get(), bytes);
    poison_fresh(data_.get(), bytes);
  }
  static Buffer zeros(int64_t count) {
    Buffer buffer(count);
    if (count > 0) std::memset(buffer.get(), 0, size_t(count) * sizeof(T));
    return buffer;
  }
  T* get() const { return data_.get(); }

 private:
  std::unique_ptr<T, decltype(&std::free)> data_;
};

// Memory of one thread for one purpose. It grows to what the largest call needs and stays, as fresh memory would cost a
// page fault for every 4 KiB of it in every pass. What it holds from the last call is no promise: `poison` overwrites
// it.
template <class Purpose, class T>
T* thread_memory(int64_t count) {
  thread_local Buffer<T> buffer;
  thread_local int64_t size = 0;
  if (count > size) {
    size = 0;  // of what is left, should there be no memory
    buffer = Buffer<T>();
    buffer = Buffer<T>(count);
    size = count;
  }
  poison_fresh(buffer.get(), size_t(count) * sizeof(T));
  return buffer.get();
}

}  // namespace base_fast
