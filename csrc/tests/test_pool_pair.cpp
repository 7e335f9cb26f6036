// Both pools and their gradient in every layout against plain loops in double: ties, infinities and NaN among the
// values. Scratch memory is exactly as large as the kernels ask for.
#define BF_DECLARATIONS "pool_pair.h"
#include "../cpu/declare.h"

#include "../cpu/mixed_op_fan.h"
#include "check.h"
#include "images.h"
#include "isa_or_skip.h"

using namespace base_fast;
using namespace layouts;

namespace {

template <class T>
using Compute = std::conditional_t<sizeof(T) == 8, double, float>;

template <class E>
struct Case {
  using T = Compute<E>;
  Sizes sizes, out;
  int stride;
  Tensor<E> x, d_max, d_average, max, average, dx;

  Case(const Sizes& n, int stride, Layout layout, Layout of_grad, Layout result, const std::vector<double>& values)
      : sizes(n),
        out{n[0], n[1], (n[2] + stride - 1) / stride, (n[3] + stride - 1) / stride},
        stride(stride),
        x(layout, n, 1.0, 0.1),
        d_max(of_grad, out, 1.0, -0.1),
        d_average(layout, out, 1.0, 0.3),
        max(result, out),
        average(result, out),
        dx(result, n) {
    for (size_t i = 0; i < x.storage.size() && !values.empty(); ++i) {
      const double choice = (vectors::to_double(x.storage[i]) + 1.0) * 1000.0;
      x.storage[i] = vectors::of_double<E>(values[size_t(choice) % values.size()]);
    }
  }

  template <class F>
  static void each(int64_t count, int64_t scratch, bool backwards, const F& f) {
    const Buffer<T> memory(scratch);
    if (!backwards) return f(0, count, memory.get());
    for (int64_t item = count; item-- > 0;) f(item, item + 1, memory.get());
  }

  void operator()(bool backwards) {
    PoolPlan<E, T> p{};
    p.images = sizes[0], p.channels = sizes[1], p.height = sizes[2], p.width = sizes[3], p.stride = stride;
    p.x = images::read(x), p.d_max = images::read(d_max), p.d_average = images::read(d_average);
    p.max = images::written(max), p.average = images::written(average), p.dx = images::written(dx);
    each(p.items(), p.forward_scratch(), backwards,
         [&](int64_t begin, int64_t end, T* scratch) { BF_KERNEL(pool_pair<E, T>)(p, begin, end, scratch); });
    each(p.items(), p.backward_scratch(), backwards,
         [&](int64_t begin, int64_t end, T* scratch) { BF_KERNEL(pool_pair_backward<E, T>)(p, begin, end, scratch); });
  }

  void check() {
    const double tolerance = sizeof(E) == 8 ? 1e-14 : sizeof(E) == 4 ? 2e-6 : 2e-2;
    const auto close = [&](double a, double b) {
      return a == b || (a != a && b != b) || std::fabs(a - b) <= tolerance * std::fmax(1.0, std::fabs(b));
    };
    Tensor<double> expected(Layout::contiguous, sizes, 0.0, 0.0);
    const auto d = [&](int64_t b, int64_t c, int64_t i, int64_t j) -> double& {
      return expected.storage[size_t(((b * sizes[1] + c) * sizes[2] + i) * sizes[3] + j)];
    };
    bool same = true;
    each_element(out, [&](int64_t b, int64_t c, int64_t i, int64_t j) {
      const int64_t top = std::max<int64_t>(stride * i - 1, 0), bottom = std::min(stride * i + 2, sizes[2]);
      const int64_t left = std::max<int64_t>(stride * j - 1, 0), right = std::min(stride * j + 2, sizes[3]);
      double highest = -INFINITY, sum = 0.0;
      int64_t row = top, column = left;
      const double share = 1.0 / double((bottom - top) * (right - left));
      for (int64_t p = top; p < bottom; ++p) {
        for (int64_t q = left; q < right; ++q) {
          const double v = x.value(b, c, p, q);
          if (v > highest || v != v) highest = v, row = p, column = q;
          sum += v;
          d(b, c, p, q) += share * d_average.value(b, c, i, j);
        }
      }
      d(b, c, row, column) += d_max.value(b, c, i, j);
      const double found = max.value(b, c, i, j);
      same = same && (found == highest || (found != found && highest != highest));
      same = same && close(average.value(b, c, i, j), sum * share);
    });
    CHECK(same);
    each_element(sizes, [&](int64_t b, int64_t c, int64_t i, int64_t j) {
      same = same && close(dx.value(b, c, i, j), expected.value(b, c, i, j));
    });
    CHECK(same);
  }
};

template <class E>
void check(const Sizes& sizes, int stride, int turn, const std::vector<double>& values) {
  Case<E> one(sizes, stride, kLayouts[turn % 6], kLayouts[(turn + turn / 6) % 6], kDense[turn % 2], values), other = one;
  one(false);
  other(true);
  one.check();
  CHECK(vectors::equal_bits(one.max.storage, other.max.storage));
  CHECK(vectors::equal_bits(one.average.storage, other.average.storage));
  CHECK(vectors::equal_bits(one.dx.storage, other.dx.storage));
}

}  // namespace

int main() {
  BF_ISA_OR_SKIP();
  const std::vector<std::vector<double>> kinds = {
      {}, {0.0, 1.0, 2.0}, {-0.0, 0.0, -1.0}, {-INFINITY, 1.0}, {-INFINITY}, {INFINITY, -INFINITY, 0.5}, {NAN, 1.0, 2.0}};
  int turn = 0;
  for (const Sizes& sizes :
       {Sizes{2, 3, 7, 6}, Sizes{1, 1, 1, 1}, Sizes{2, 16, 5, 9}, Sizes{1, 17, 2, 21}, Sizes{3, 16, 8, 1},
        Sizes{1, 2, 1, 18}, Sizes{1, 16, 45, 37}, Sizes{1, 5, 24, 60}}) {
    for (const int stride : {1, 2}) {
      for (const auto& values : kinds) {
        check<float>(sizes, stride, turn, values);
        check<double>(sizes, stride, turn + 1, values);
        check<bfloat16>(sizes, stride, turn++, values);
      }
    }
  }
  return failures();
}
