#include "outer_step.h"

#include "launch.h"

namespace base_fast {
namespace {

Tensor outer_step(const Tensor& prior, const std::vector<Tensor>& adapted, double step_size) {
  STD_TORCH_CHECK(!adapted.empty(), "adapted: expected at least one tensor");
  const torch::stable::accelerator::DeviceGuard guard(prior.get_device_index());
  const Tensor w = dense(prior), after = torch::stable::empty_like(w);
  std::vector<Tensor> tasks;
  bool fours = aligned({w.const_data_ptr(), after.const_data_ptr()});
  for (const Tensor& x : adapted) {
    check_like(x, prior, "adapted");
    tasks.push_back(dense(x));
    fours = fours && aligned({tasks.back().const_data_ptr()});
  }
  const int64_t count = w.numel(), all = static_cast<int64_t>(tasks.size());
  if (count == 0) return after;
  with_type(w.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using C = cuda::compute_t<T>;
    // What a launch passes on to the next: in bfloat16 the result is rounded once.
    const Tensor sums = all > cuda::kTasks ? torch::stable::new_empty(w, w.sizes(), scalar_type_of<C>()) : w;
    for (int64_t start = 0; start < all; start += cuda::kTasks) {
      cuda::Adapted<T> group{};
      group.count = static_cast<int>(std::min<int64_t>(cuda::kTasks, all - start));
      for (int c = 0; c < group.count; ++c) group.x[c] = data<T>(tasks[start + c]);
      cuda::outer_step_kernel<T><<<blocks_for((count + 3) / 4), kThreads, 0, stream_of(w)>>>(
          data<T>(w), group, all, step_size, static_cast<C*>(sums.mutable_data_ptr()), start == 0,
          start + group.count == all, mutable_data<T>(after), count, fours);
    }
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return after;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CUDA, library) { BF_REGISTER(library, outer_step); }

}  // namespace base_fast
