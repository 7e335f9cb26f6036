// Values against plain loops, and gradients against finite differences in double; float and bfloat16 against double.
// Scratch memory is exactly as large as the kernels ask for, so that an address sanitizer sees what they write.
#include "../cpu/blocked/relu_conv_norm.h"

#include <cmath>
#include <cstdio>

#include "../core/bfloat16.h"
#include "../cpu/blocked/relu_conv_norm_passes.h"
#include "check.h"
#include "isa_or_skip.h"

using namespace base_fast;

namespace {

constexpr double kEpsilon = 1e-5;

double number(int64_t i) { return std::sin(12.9898 * double(i) + 0.5) * 1.3; }

template <class S>
struct Run {
  using T = compute_t<S>;
  ConvShape shape;
  int64_t gap;  // channels between the pixels of x and of the gradient that are not theirs
  std::vector<S> x, y, dx;
  std::vector<T> weight, dw;

  static S stored(double value) { return host::from_float<S>(T(value)); }

  Run(const ConvShape& s, int64_t between) : shape(s), gap(between) {
    for (int64_t i = 0; i < s.images * s.height * s.width * (s.in_channels + gap); ++i) x.push_back(stored(number(i)));
    for (int64_t i = 0; i < s.out_channels * s.in_channels; ++i) weight.push_back(T(number(i + 100000)));
  }

  // y, then the gradients of Σ number(7·i)·y_i.
  void operator()() {
    Convolution<S> convolution(shape, weight.data());
    ConvPlan<S>& plan = convolution.plan;
    const int64_t outputs = plan.pixels() * shape.out_channels, step = shape.out_channels + gap;
    std::vector<S> grad(size_t(plan.pixels() * step), stored(NAN));
    for (int64_t i = 0; i < outputs; ++i)
      grad[size_t(i / shape.out_channels * step + i % shape.out_channels)] = stored(number(7 * i));
    y.resize(size_t(outputs)), dx.resize(size_t(shape.images * shape.height * shape.width * shape.in_channels));
    dw.resize(weight.size());
    std::vector<T> v(y.size()), rstd(static_cast<size_t>(shape.out_channels));
    const int64_t pixel = shape.in_channels + gap;
    plan.x = {x.data(), shape.height * shape.width * pixel, shape.width * pixel, pixel};
    plan.grad = {grad.data(), plan.out_height * plan.out_width * step, plan.out_width * step, step};
    plan.v = v.data(), plan.y = y.data(), plan.saved = y.data(), plan.dx = dx.data();
    const auto run = [&](void (*pass)(const ConvPlan<S>&, int64_t, const Workspace<T>&)) {
      const Buffer<T> scratch(BF_KERNEL(relu_conv_norm_scratch<S>)(plan));
      const Workspace<T> work{scratch.get(), true, -1};
      for (int64_t group = plan.groups; group-- > 0;) pass(plan, group, work);
    };
    convolution.forward(kEpsilon, rstd.data(), run);
    const Buffer<T> shares(plan.groups * plan.weights);
    convolution.backward(rstd.data(), shares.get(), run);
    merge_groups(shares.get(), plan.groups, plan.weights, 0, plan.weights);
    convolution.unpack(shares.get(), dw.data());
  }

  double loss() const {
    double total = 0.0;
    for (size_t i = 0; i < y.size(); ++i) total += number(7 * int64_t(i)) * double(y[i]);
    return total;
  }
};

// y by the definition.
std::vector<double> plain(const Run<double>& run) {
  const ConvShape& s = run.shape;
  const int64_t h = (s.height + s.stride - 1) / s.stride, w = (s.width + s.stride - 1) / s.stride;
  std::vector<double> y(size_t(s.images * h * w * s.out_channels));
  for (int64_t o = 0; o < s.out_channels; ++o) {
    const int64_t shift = s.stride == 2 && o >= s.out_channels / 2;
    double mean = 0.0, square = 0.0;
    for (int64_t p = 0; p < s.images * h * w; ++p) {
      const int64_t i = p / w % h * s.stride + shift, j = p % w * s.stride + shift;
      double& v = y[size_t(p * s.out_channels + o)];
      for (int64_t c = 0; c < s.in_channels && i < s.height && j < s.width; ++c)
        v += run.weight[size_t(o * s.in_channels + c)] *
             std::fmax(0.0, run.x[size_t(((p / w / h * s.height + i) * s.width + j) * (s.in_channels + run.gap) + c)]);
      mean += v / double(s.images * h * w);
    }
    for (int64_t p = 0; p < s.images * h * w; ++p)
      square += std::pow(y[size_t(p * s.out_channels + o)] - mean, 2.0) / double(s.images * h * w);
    for (int64_t p = 0; p < s.images * h * w; ++p) {
      double& v = y[size_t(p * s.out_channels + o)];
      v = (v - mean) / std::sqrt(square + kEpsilon);
    }
  }
  return y;
}

// The largest difference between what is stored as S and doubles, in units of the largest double.
template <class S>
double difference(const std::vector<S>& found, const std::vector<double>& expected) {
  double largest = 1.0, error = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::fmax(largest, std::fabs(expected[i]));
    error = std::fmax(error, std::fabs(double(host::to_float(found[i])) - expected[i]));
  }
  return error / largest;
}

void check_shape(const ConvShape& shape, int64_t gap) {
  Run<double> at(shape, gap), above(shape, gap), below(shape, gap);
  at();
  CHECK(difference(at.y, plain(at)) <= 1e-12);
  // The derivative along one direction in x and the weights.
  double expected = 0.0, size = 0.0;
  int64_t seed = 1000;
  constexpr double kStep = 1e-7;
  const auto move = [&](double& up, double& down, double gradient) {
    const double direction = number(++seed);
    up += kStep * direction, down -= kStep * direction;
    expected += gradient * direction, size += std::fabs(gradient * direction);
  };
  for (size_t i = 0; i < at.dx.size(); ++i) {
    const size_t channels = size_t(shape.in_channels), place = i / channels * (channels + size_t(gap)) + i % channels;
    move(above.x[place], below.x[place], at.dx[i]);
  }
  for (size_t i = 0; i < at.weight.size(); ++i) move(above.weight[i], below.weight[i], at.dw[i]);
  above();
  below();
  CHECK(std::fabs((above.loss() - below.loss()) / (2.0 * kStep) - expected) <= 1e-5 * (size + 1.0));

  Run<float> single(shape, gap);
  single();
  CHECK(difference(single.y, at.y) <= 1e-4);
  CHECK(difference(single.dx, at.dx) <= 1e-3);
  Run<bfloat16> half(shape, gap);
  half();
  CHECK(difference(half.y, at.y) <= 0.1);
  for (const bfloat16 d : half.dx) CHECK(std::isfinite(host::to_float(d)));
}

}  // namespace

int main() {
  BF_ISA_OR_SKIP();
  for (const int stride : {1, 2}) {
    for (const int64_t gap : {0, 5}) {
      check_shape({2, 16, 6, 8, 32, stride}, gap);
      check_shape({2, 48, 5, 9, 16, stride}, gap);
      check_shape({3, 17, 7, 3, 33, stride}, gap);
      check_shape({4, 3, 3, 1, 1, stride}, gap);
      check_shape({5, 1, 4, 5, 50, stride}, gap);
      check_shape({3, 80, 11, 20, 7, stride}, gap);
    }
  }
  return failures();
}
