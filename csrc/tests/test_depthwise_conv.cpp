// Depthwise convolutions and their gradients in every layout against plain loops in double. Scratch memory is exactly
// as large as the kernels ask for, so that an address sanitizer sees what they write.
#define BF_DECLARATIONS "depthwise_conv.h"
#include "../cpu/declare.h"

#include "../cpu/mixed_op_fan.h"
#include "check.h"
#include "images.h"
#include "isa_or_skip.h"

using namespace base_fast;
using namespace layouts;
using vectors::Vector;

namespace {

template <class T>
using Compute = std::conditional_t<sizeof(T) == 8, double, float>;

struct Settings {
  int kernel, stride, dilation;
  bool relu;
};

template <class E>
struct Case {
  using T = Compute<E>;
  Sizes sizes, out;
  Settings set;
  Tensor<E> x, grad, y, dx;
  Vector<E> weight;
  Vector<double> dw;

  Case(const Sizes& n, const Settings& s, Layout layout, Layout of_grad, Layout result)
      : sizes(n),
        out{n[0], n[1], (n[2] + s.stride - 1) / s.stride, (n[3] + s.stride - 1) / s.stride},
        set(s),
        x(layout, n, 1.0, 0.1),
        grad(of_grad, out, 1.0, -0.1),
        y(result, out),
        dx(result, n),
        weight(vectors::values<E>(n[1] * s.kernel * s.kernel, 1.0, 0.0)) {}

  DepthwisePlan<E, T> plan() {
    DepthwisePlan<E, T> p{};
    p.images = sizes[0], p.channels = sizes[1], p.height = sizes[2], p.width = sizes[3];
    p.kernel = set.kernel, p.stride = set.stride, p.dilation = set.dilation, p.relu = set.relu;
    p.x = images::read(x), p.grad = images::read(grad), p.y = images::written(y), p.dx = images::written(dx);
    return p;
  }

  // Items in one call, or one by one from the last on: they do not depend on one another.
  template <class F>
  static void each(int64_t count, int64_t scratch, bool backwards, const F& f) {
    const Buffer<T> memory(scratch);
    if (!backwards) return f(0, count, memory.get());
    for (int64_t item = count; item-- > 0;) f(item, item + 1, memory.get());
  }

  void operator()(bool backwards) {
    DepthwisePlan<E, T> p = plan();
    const PackedFilters<E, T> filters(p, [&](int64_t i) { return T(vectors::to_double(weight[size_t(i)])); });
    p.weight = filters.forward.data(), p.scattered = filters.back.data();
    each(p.pieces() * p.blocks(), p.forward_scratch(), backwards, [&](int64_t begin, int64_t end, T* scratch) {
      BF_KERNEL(depthwise_conv<E, T>)(p, begin, end, scratch);
    });
    const int64_t count = p.blocks() * p.taps();
    const Buffer<double> partial(p.groups() * count);
    p.weight_gradients = partial.get();
    each(p.groups() * p.blocks(), p.backward_scratch(), backwards, [&](int64_t begin, int64_t end, T* scratch) {
      BF_KERNEL(depthwise_conv_backward<E, T>)(p, begin, end, scratch);
    });
    dw.assign(weight.size(), 0.0);
    p.each_weight([&](int64_t at, int64_t packed) {
      for (int64_t g = 0; g < p.groups(); ++g) dw[size_t(at)] += partial.get()[g * count + packed];
    });
  }

  void check() {
    const int k = set.kernel, s = set.stride, d = set.dilation, pad = d * (k / 2);
    Tensor<double> value(Layout::contiguous, out, 0.0, 0.0), d_input(Layout::contiguous, sizes, 0.0, 0.0);
    Vector<double> d_weight(weight.size(), 0.0);
    each_element(out, [&](int64_t b, int64_t c, int64_t i, int64_t j) {
      const auto at = [](const Tensor<double>& t, int64_t b, int64_t c, int64_t i, int64_t j) {
        return size_t(b * t.strides[0] + c * t.strides[1] + i * t.strides[2] + j);
      };
      const double g = grad.value(b, c, i, j);
      for (int t = 0; t < k; ++t) {
        for (int u = 0; u < k; ++u) {
          const int64_t row = s * i + d * t - pad, column = s * j + d * u - pad;
          if (row < 0 || row >= sizes[2] || column < 0 || column >= sizes[3]) continue;
          const double v = x.value(b, c, row, column), input = set.relu && v < 0.0 ? 0.0 : v;
          const size_t w = size_t((c * k + t) * k + u);
          value.storage[at(value, b, c, i, j)] += input * vectors::to_double(weight[w]);
          d_weight[w] += g * input;
          if (!set.relu || v > 0.0) d_input.storage[at(d_input, b, c, row, column)] += g * vectors::to_double(weight[w]);
        }
      }
    });
    // Sums of up to 49 terms, and of up to a few hundred pixels.
    const double tolerance = sizeof(E) == 8 ? 1e-13 : sizeof(E) == 4 ? 1e-5 : 2e-2;
    const auto close = [&](double a, double b) { return std::fabs(a - b) <= tolerance * std::fmax(1.0, std::fabs(b)); };
    bool same = true;
    each_element(out, [&](int64_t b, int64_t c, int64_t i, int64_t j) {
      same = same && close(y.value(b, c, i, j), value.value(b, c, i, j));
    });
    CHECK(same);
    each_element(sizes, [&](int64_t b, int64_t c, int64_t i, int64_t j) {
      same = same && close(dx.value(b, c, i, j), d_input.value(b, c, i, j));
    });
    CHECK(same);
    for (size_t w = 0; w < dw.size(); ++w) same = same && close(dw[w], d_weight[w]);
    CHECK(same);
  }
};

template <class E>
void check(const Sizes& sizes, const Settings& set, int turn) {
  const Layout result = kDense[turn % 2];
  Case<E> one(sizes, set, kLayouts[turn % 6], kLayouts[(turn + turn / 6) % 6], result), other = one;
  one(false);
  other(true);
  one.check();
  CHECK(vectors::equal_bits(one.y.storage, other.y.storage));
  CHECK(vectors::equal_bits(one.dx.storage, other.dx.storage));
  CHECK(vectors::equal_bits(one.dw, other.dw));
}

}  // namespace

int main() {
  BF_ISA_OR_SKIP();
  int turn = 0;
  for (const Sizes& sizes : {Sizes{2, 3, 7, 6}, Sizes{1, 1, 1, 1}, Sizes{2, 16, 5, 9}, Sizes{1, 17, 2, 21},
                             Sizes{1, 33, 3, 2}, Sizes{3, 16, 8, 1}, Sizes{1, 2, 1, 18}}) {
    for (const int kernel : {3, 5, 7}) {
      for (const int stride : {1, 2}) {
        for (const int dilation : {1, 2}) {
          const Settings set{kernel, stride, dilation, turn / 2 % 2 == 0};
          check<float>(sizes, set, turn);
          check<double>(sizes, set, turn + 1);
          check<bfloat16>(sizes, set, turn++);
        }
      }
    }
  }
  // Several bands of an image, the last one shorter.
  for (const int stride : {1, 2}) {
    check<float>({1, 16, 67, 300}, {5, stride, 1, true}, 1);
    check<double>({1, 5, 61, 150}, {3, stride, 2, false}, 0);
  }
  return failures();
}
