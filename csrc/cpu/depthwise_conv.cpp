#define BF_DECLARATIONS "depthwise_conv.h"
#include "declare.h"
#include "image_tensors.h"
#include "registration.h"

namespace base_fast {
namespace {

void check(const Tensor& x, const Tensor& weight, int64_t stride, int64_t dilation) {
  check_image(x);
  const int64_t k = weight.dim() == 4 ? weight.size(3) : 0;
  STD_TORCH_CHECK((k == 3 || k == 5 || k == 7) && weight.size(0) == x.size(1) && weight.size(1) == 1 &&
                      weight.size(2) == k && weight.scalar_type() == x.scalar_type(),
                  "weight: expected (C, 1, k, k), k 3, 5 or 7, of the input's dtype");
  STD_TORCH_CHECK((stride == 1 || stride == 2) && (dilation == 1 || dilation == 2),
                  "stride, dilation: expected 1 or 2");
}

template <class E, class T>
DepthwisePlan<E, T> plan_of(const Tensor& x, const Tensor& weight, int64_t stride, int64_t dilation, bool relu) {
  DepthwisePlan<E, T> plan{};
  plan.images = x.size(0), plan.channels = x.size(1), plan.height = x.size(2), plan.width = x.size(3);
  plan.kernel = int(weight.size(3)), plan.stride = int(stride), plan.dilation = int(dilation), plan.relu = relu;
  plan.x = image_of<E>(x);
  return plan;
}

template <class E, class T>
PackedFilters<E, T> packed(const DepthwisePlan<E, T>& plan, const Tensor& weight) {
  const Tensor held = dense(weight);
  const E* values = data<E>(held);
  return {plan, [&](int64_t i) { return host::to_float(values[i]); }};
}

Tensor depthwise_conv(Tensor x, Tensor weight, int64_t stride, int64_t dilation, bool relu) {
  check(x, weight, stride, dilation);
  const Tensor y = empty_image_like(x, (x.size(2) + stride - 1) / stride, (x.size(3) + stride - 1) / stride);
  with_type(x.scalar_type(), [&](auto type) {
    using E = decltype(type);
    using T = host::compute_t<E>;
    auto plan = plan_of<E, T>(x, weight, stride, dilation, relu);
    const auto filters = packed(plan, weight);
    plan.weight = filters.forward.data();
    plan.y = mutable_image_of<E>(y);
    const auto kernel = BF_KERNEL(depthwise_conv<E, T>);
    parallel_items<T>(plan.pieces() * plan.blocks(), plan.x_band(), plan.forward_scratch(),
                      [&](int64_t begin, int64_t end, T* scratch) { kernel(plan, begin, end, scratch); });
  });
  return y;
}

std::tuple<Tensor, Tensor> depthwise_conv_backward(Tensor grad, Tensor x, Tensor weight, int64_t stride,
                                                   int64_t dilation, bool relu) {
  check(x, weight, stride, dilation);
  check_gradient(grad, x, (x.size(2) + stride - 1) / stride, (x.size(3) + stride - 1) / stride);
  const Tensor dx = empty_image_like(x, x.size(2), x.size(3)), dw = empty(weight.sizes(), weight.scalar_type());
  with_type(x.scalar_type(), [&](auto type) {
    using E = decltype(type);
    using T = host::compute_t<E>;
    auto plan = plan_of<E, T>(x, weight, stride, dilation, relu);
    const auto filters = packed(plan, weight);
    plan.scattered = filters.back.data();
    plan.grad = image_of<E>(grad);
    plan.dx = mutable_image_of<E>(dx);
    const int64_t count = plan.blocks() * plan.taps(), groups = plan.groups();
    const Buffer<double> partial(groups * count);
    plan.weight_gradients = partial.get();
    const auto kernel = BF_KERNEL(depthwise_conv_backward<E, T>);
    parallel_items<T>(groups * plan.blocks(), plan.x_band(), plan.backward_scratch(),
                      [&](int64_t begin, int64_t end, T* scratch) { kernel(plan, begin, end, scratch); });
    std::vector<double> total(size_t(count), 0.0);
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t i = 0; i < count; ++i) total[size_t(i)] += partial.get()[g * count + i];
    }
    plan.each_weight([&](int64_t at, int64_t packed_at) {
      mutable_data<E>(dw)[at] = host::from_float<E>(T(total[size_t(packed_at)]));
    });
  });
  return {dx, dw};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, depthwise_conv);
  BF_REGISTER(library, depthwise_conv_backward);
}

}  // namespace base_fast
