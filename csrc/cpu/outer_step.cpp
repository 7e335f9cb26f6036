#define BF_DECLARATIONS "outer_step.h"
#include "declare.h"
#include "parallel.h"
#include "registration.h"
#include "tensor.h"

namespace base_fast {
namespace {

Tensor outer_step(const Tensor& prior, const std::vector<Tensor>& adapted, double step_size) {
  STD_TORCH_CHECK(!adapted.empty(), "adapted: expected at least one tensor");
  const Tensor w = dense(prior);
  std::vector<Tensor> tasks;
  for (const Tensor& x : adapted) {
    check_like(x, prior, "adapted");
    tasks.push_back(dense(x));
  }
  const Tensor after = output_like(w);
  with_type(w.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto kernel = BF_KERNEL(outer_step<T>);
    std::vector<const T*> from;
    for (const Tensor& x : tasks) from.push_back(data<T>(x));
    T* const to = mutable_data<T>(after);
    parallel(w.numel(), [&](int64_t begin, int64_t end) {
      kernel(data<T>(w), from.data(), static_cast<int64_t>(from.size()), step_size, to, begin, end);
    });
  });
  return after;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) { BF_REGISTER(library, outer_step); }

}  // namespace base_fast
