#define BF_DECLARATIONS "pool_pair.h"
#include "declare.h"
#include "image_tensors.h"
#include "registration.h"

namespace base_fast {
namespace {

template <class E, class T>
PoolPlan<E, T> plan_of(const Tensor& x, int64_t stride) {
  PoolPlan<E, T> plan{};
  plan.images = x.size(0), plan.channels = x.size(1), plan.height = x.size(2), plan.width = x.size(3);
  plan.stride = int(stride);
  plan.x = image_of<E>(x);
  return plan;
}

void check(const Tensor& x, int64_t stride) {
  check_image(x);
  STD_TORCH_CHECK(stride == 1 || stride == 2, "stride: expected 1 or 2");
}

std::tuple<Tensor, Tensor> pool_pair(Tensor x, int64_t stride) {
  check(x, stride);
  const int64_t height = (x.size(2) + stride - 1) / stride, width = (x.size(3) + stride - 1) / stride;
  const Tensor max = empty_image_like(x, height, width), average = empty_image_like(x, height, width);
  with_type(x.scalar_type(), [&](auto type) {
    using E = decltype(type);
    using T = host::compute_t<E>;
    auto plan = plan_of<E, T>(x, stride);
    plan.max = mutable_image_of<E>(max);
    plan.average = mutable_image_of<E>(average);
    const auto kernel = BF_KERNEL(pool_pair<E, T>);
    parallel_items<T>(plan.items(), plan.x_band(), plan.forward_scratch(),
                      [&](int64_t begin, int64_t end, T* scratch) { kernel(plan, begin, end, scratch); });
  });
  return {max, average};
}

Tensor pool_pair_backward(Tensor d_max, Tensor d_average, Tensor x, int64_t stride) {
  check(x, stride);
  const int64_t height = (x.size(2) + stride - 1) / stride, width = (x.size(3) + stride - 1) / stride;
  check_gradient(d_max, x, height, width);
  check_gradient(d_average, x, height, width);
  const Tensor dx = empty_image_like(x, x.size(2), x.size(3));
  with_type(x.scalar_type(), [&](auto type) {
    using E = decltype(type);
    using T = host::compute_t<E>;
    auto plan = plan_of<E, T>(x, stride);
    plan.d_max = image_of<E>(d_max);
    plan.d_average = image_of<E>(d_average);
    plan.dx = mutable_image_of<E>(dx);
    const auto kernel = BF_KERNEL(pool_pair_backward<E, T>);
    parallel_items<T>(plan.items(), plan.x_band(), plan.backward_scratch(),
                      [&](int64_t begin, int64_t end, T* scratch) { kernel(plan, begin, end, scratch); });
  });
  return dx;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, pool_pair);
  BF_REGISTER(library, pool_pair_backward);
}

}  // namespace base_fast
