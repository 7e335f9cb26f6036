// Squares and updates of a gradient step against plain loops in double, and the scale that clips.
#include "../cpu/elementwise/sgd_step.h"

#include "../core/sgd_step.h"

#include "check.h"
#include "isa_or_skip.h"
#include "vectors.h"

using namespace base_fast;
using namespace vectors;

namespace {

template <class T>
void test(int64_t size) {
  const double rate = 0.3;
  const Vector<T> x = values<T>(size, 2.0, 0.5), g = values<T>(size, 1.0, 0.25);
  Vector<T> after = nans<T>(size), pieces = nans<T>(size);
  Vector<double> expected(static_cast<size_t>(size)), got(expected);
  const auto update = BF_KERNEL(sgd_update<T>);
  update(x.data(), g.data(), rate, after.data(), 0, size);
  for (int64_t begin = 0; begin < size; begin += 1024) {
    update(x.data(), g.data(), rate, pieces.data(), begin, std::min(begin + 1024, size));
  }
  double square = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    square += to_double(g[i]) * to_double(g[i]);
    expected[i] = to_double(x[i]) - rate * to_double(g[i]);
    got[i] = to_double(after[i]);
  }
  CHECK(error(got, expected) < kTolerance<T>);
  CHECK(equal_bits(after, pieces));
  CHECK(std::fabs(BF_KERNEL(sgd_square<T>)(g.data(), 0, size) - square) <= 1e-13 * square);
}

template <class T>
void test_all() {
  for (const int64_t size : {0, 1, 17, 255, 256, 257, 1000, 10001}) test<T>(size);
}

void test_large_gradients() {
  const Vector<float> g(3, 1e30f);
  CHECK(std::fabs(BF_KERNEL(sgd_square<float>)(g.data(), 0, 3) / 3e60 - 1.0) < 1e-6);
}

void test_scale() {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(host::sgd_scale(0.0, 10.0) == 1.0 && host::sgd_scale(0.0, nan) == 1.0);
  CHECK(host::sgd_scale(5.0, 10.0) == 0.5);
  CHECK(host::sgd_scale(5.0, 4.0) == 1.0 && host::sgd_scale(5.0, 0.0) == 1.0);
  CHECK(host::sgd_scale(5.0, inf) == 0.0 && std::isnan(host::sgd_scale(5.0, nan)));
}

}  // namespace

int main() {
  BF_ISA_OR_SKIP();
  test_all<float>();
  test_all<double>();
  test_all<bfloat16>();
  test_large_gradients();
  test_scale();
  return failures() != 0;
}
