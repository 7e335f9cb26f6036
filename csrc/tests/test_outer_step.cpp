// The step of the prior against plain loops in double.
#define BF_DECLARATIONS "outer_step.h"
#include "../cpu/declare.h"

#include "check.h"
#include "isa_or_skip.h"
#include "vectors.h"

using namespace base_fast;
using namespace vectors;

namespace {

template <class T>
void test(int64_t size, int64_t count) {
  const double step_size = 0.3;
  const Vector<T> prior = values<T>(size, 2.0, 0.5);
  std::vector<Vector<T>> adapted;
  std::vector<const T*> pointers;
  for (int64_t c = 0; c < count; ++c) adapted.push_back(values<T>(size, 1.0 + static_cast<double>(c), 0.25));
  for (const auto& x : adapted) pointers.push_back(x.data());

  Vector<T> after = nans<T>(size), pieces = nans<T>(size);
  Vector<double> expected(static_cast<size_t>(size)), got(expected);
  const auto kernel = BF_KERNEL(outer_step<T>);
  kernel(prior.data(), pointers.data(), count, step_size, after.data(), 0, size);
  for (int64_t begin = 0; begin < size; begin += 1024) {
    kernel(prior.data(), pointers.data(), count, step_size, pieces.data(), begin, std::min(begin + 1024, size));
  }
  for (int64_t i = 0; i < size; ++i) {
    double sum = 0.0;
    for (const auto& x : adapted) sum += to_double(x[static_cast<size_t>(i)]);
    const double w = to_double(prior[static_cast<size_t>(i)]);
    expected[static_cast<size_t>(i)] = w + step_size * (sum / static_cast<double>(count) - w);
    got[static_cast<size_t>(i)] = to_double(after[static_cast<size_t>(i)]);
  }
  CHECK(error(got, expected) < kTolerance<T>);
  CHECK(equal_bits(after, pieces));
}

template <class T>
void test_all() {
  for (const int64_t size : {0, 1, 17, 1000, 4096, 10001}) {
    for (const int64_t count : {1, 2, 3, 4, 5, 8, 11}) test<T>(size, count);
  }
}

}  // namespace

int main() {
  BF_ISA_OR_SKIP();
  test_all<float>();
  test_all<double>();
  test_all<bfloat16>();
  return failures() != 0;
}
