#include "../blocked/relu_conv_norm.h"

#include <torch/headeronly/util/BFloat16.h>

#include "registration.h"
#include "../blocked/relu_conv_norm_passes.h"
#include "runner.h"
#include "tensor.h"
#include "threads.h"

namespace base_fast {
namespace {

// Channels as neighbours in memory, whatever the strides of the pixels.
Tensor channels_last(const Tensor& x) {
  return x.size(1) == 1 || x.stride(1) == 1 ? x : torch::stable::contiguous(x, kChannelsLast);
}

template <class S>
Pixels<const S> pixels_of(const Tensor& x) {
  return {data<S>(x), x.stride(0), x.stride(2), x.stride(3)};
}

// What this op keeps of each thread's memory, see `thread_memory`.
struct Shares;

ConvShape shape_of(const Tensor& x, const Tensor& weight, int64_t stride) {
  STD_TORCH_CHECK(x.dim() == 4 && weight.dim() == 2 && weight.size(1) == x.size(1) && weight.numel() > 0,
                  "weight: expected (C_out, C_in), x: (B, C_in, H, W)");
  STD_TORCH_CHECK(stride == 1 || stride == 2, "stride: expected 1 or 2");
  return {x.size(0), x.size(1), x.size(2), x.size(3), weight.size(0), int(stride)};
}

ScalarType wide(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

template <class S, class W>
std::tuple<Tensor, Tensor> forward(const Tensor& any, const Tensor& weight, int64_t stride) {
  using T = compute_t<S>;
  Convolution<S> convolution(shape_of(any, weight, stride), data<W>(weight));
  ConvPlan<S>& plan = convolution.plan;
  const Tensor x = channels_last(any);
  const auto image = [&](ScalarType dtype) {
    return empty_image(plan.images, plan.out_channels, plan.out_height, plan.out_width, dtype);
  };
  const Tensor y = image(x.scalar_type()), rstd = empty({plan.out_channels}, wide(x));
  const Tensor v = std::is_same_v<S, T> ? y : image(wide(x));
  plan.x = pixels_of<S>(x);
  plan.y = mutable_data<S>(y), plan.v = mutable_data<T>(v);
  Runner<ConvPlan<S>, T> runner(BF_KERNEL(relu_conv_norm_scratch<S>));
  convolution.forward(kBatchNormEpsilon, mutable_data<T>(rstd), [&](auto pass) { runner(pass, plan); });
  return {y, rstd};
}

template <class S, class W>
std::tuple<Tensor, Tensor> backward(const Tensor& any_grad, const Tensor& any, const Tensor& weight, int64_t stride,
                                    const Tensor& y, const Tensor& rstd) {
  using T = compute_t<S>;
  Convolution<S> convolution(shape_of(any, weight, stride), data<W>(weight));
  ConvPlan<S>& plan = convolution.plan;
  for (const Tensor& t : {any_grad, y}) {
    STD_TORCH_CHECK(t.dim() == 4 && t.size(0) == plan.images && t.size(1) == plan.out_channels &&
                        t.size(2) == plan.out_height && t.size(3) == plan.out_width &&
                        t.scalar_type() == any.scalar_type(),
                    "grad, y: expected the output's shape and dtype");
  }
  STD_TORCH_CHECK(rstd.numel() == plan.out_channels && rstd.scalar_type() == wide(any) && rstd.is_contiguous(),
                  "statistics: expected what the forward pass gave");
  const Tensor x = channels_last(any), grad = channels_last(any_grad);
  const Tensor saved = torch::stable::contiguous(y, kChannelsLast);
  const Tensor dx = empty_image(plan.images, plan.in_channels, plan.height, plan.width, x.scalar_type());
  const Tensor dw = empty({plan.out_channels, plan.in_channels}, weight.scalar_type());
  plan.x = pixels_of<S>(x), plan.grad = pixels_of<S>(grad);
  plan.saved = data<S>(saved), plan.dx = mutable_data<S>(dx);
  Runner<ConvPlan<S>, T> runner(BF_KERNEL(relu_conv_norm_scratch<S>));
  T* shares = thread_memory<Shares, T>(plan.groups * plan.weights);
  convolution.backward(data<T>(rstd), shares, [&](auto pass) { runner(pass, plan); });
  parallel_merge(shares, plan.groups, plan.weights);
  convolution.unpack(shares, mutable_data<W>(dw));
  return {dx, dw};
}

// f(element of x, element of weight), zeros of their C++ types.
template <class F>
auto with_types(const Tensor& x, const Tensor& weight, const F& f) {
  using Half = torch::headeronly::BFloat16;
  const auto is = [&](ScalarType of_x, ScalarType of_weight) {
    return x.scalar_type() == of_x && weight.scalar_type() == of_weight;
  };
  if (is(ScalarType::Double, ScalarType::Double)) return f(double{}, double{});
  if (is(ScalarType::BFloat16, ScalarType::BFloat16)) return f(bfloat16{}, Half{});
  if (is(ScalarType::BFloat16, ScalarType::Float)) return f(bfloat16{}, float{});
  STD_TORCH_CHECK(is(ScalarType::Float, ScalarType::Float),
                  "weight: expected the dtype of x: float32, float64 or bfloat16; or float32 beside bfloat16");
  return f(float{}, float{});
}

std::tuple<Tensor, Tensor> relu_conv_norm(Tensor x, Tensor weight, int64_t stride) {
  return with_types(x, weight,
                    [&](auto s, auto w) { return forward<decltype(s), decltype(w)>(x, dense(weight), stride); });
}

std::tuple<Tensor, Tensor> relu_conv_norm_backward(Tensor grad, Tensor x, Tensor weight, int64_t stride, Tensor y,
                                                   Tensor statistics) {
  return with_types(x, weight, [&](auto s, auto w) {
    return backward<decltype(s), decltype(w)>(grad, x, dense(weight), stride, y, statistics);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, relu_conv_norm);
  BF_REGISTER(library, relu_conv_norm_backward);
}

}  // namespace base_fast
