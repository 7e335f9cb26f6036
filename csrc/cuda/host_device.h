// Stand-ins for CUDA's words, so that kernel bodies run on the host, block by block, under a debugger or a sanitizer.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define BF_UNROLL
#define BF_UNROLL_4
// Blocks run one after the other: what is static is shared by one block at a time.
#define __shared__ static

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline uint64_t __umul64hi(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
}

namespace base_fast_host {

inline thread_local dim3 thread, block, threads, blocks;

// Lets nobody pass before everybody has come.
class Barrier {
 public:
  explicit Barrier(unsigned count) : count_(count) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const unsigned generation = generation_;
    if (++waiting_ == count_) {
      waiting_ = 0;
      ++generation_;
      all_.notify_all();
    } else {
      all_.wait(lock, [&] { return generation_ != generation; });
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_;
  const unsigned count_;
  unsigned waiting_ = 0, generation_ = 0;
};

inline thread_local Barrier* barrier = nullptr;

// kernel<<<grid, size>>>(arguments...)
template <class... P, class... A>
void launch(dim3 grid, unsigned size, void (*kernel)(P...), A... arguments) {
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) {
      Barrier own(size);
      std::vector<std::thread> running;
      for (unsigned t = 0; t < size; ++t) {
        running.emplace_back([&, t] {
          thread = dim3(t), block = dim3(x, y), threads = dim3(size), blocks = grid, barrier = &own;
          kernel(arguments...);
        });
      }
      for (std::thread& one : running) one.join();
    }
  }
}

}  // namespace base_fast_host

#define threadIdx ::base_fast_host::thread
#define blockIdx ::base_fast_host::block
#define blockDim ::base_fast_host::threads
#define gridDim ::base_fast_host::blocks
#define __syncthreads() ::base_fast_host::barrier->wait()
