// Samples and their gradient against plain loops in double, and in pieces.
#include "../cpu/elementwise/gaussian_sample.h"

#include <algorithm>

#include "check.h"
#include "isa_or_skip.h"
#include "noise.h"
#include "vectors.h"

using namespace base_fast;
using namespace vectors;

namespace {

template <class T>
void test(int64_t size, Key key) {
  const Vector<T> mu = values<T>(size, 2.0, 0.5), rho = values<T>(size, 3.0, -2.0);
  Vector<T> theta = nans<T>(size), d_rho = theta, theta_pieces = theta, d_pieces = theta;
  const auto sample = BF_KERNEL(gaussian_sample<T>);
  const auto backward = BF_KERNEL(gaussian_sample_backward<T>);
  sample(mu.data(), rho.data(), theta.data(), 0, size, key);
  backward(mu.data(), rho.data(), d_rho.data(), 0, size, key);
  for (int64_t begin = 0; begin < size; begin += 300) {  // no multiple of a block of noise
    const int64_t end = std::min(begin + 300, size);
    sample(mu.data(), rho.data(), theta_pieces.data(), begin, end, key);
    backward(mu.data(), rho.data(), d_pieces.data(), begin, end, key);
  }
  CHECK(equal_bits(theta, theta_pieces) && equal_bits(d_rho, d_pieces));

  Vector<double> expected_theta, expected_d, got_theta, got_d;
  for (int64_t i = 0; i < size; ++i) {
    const size_t j = static_cast<size_t>(i);
    const double m = to_double(mu[j]), r = to_double(rho[j]), epsilon = normal_at(key, i);
    expected_theta.push_back(m + softplus(r) * epsilon);
    expected_d.push_back(m * sigmoid(r) * epsilon);
    got_theta.push_back(to_double(theta[j])), got_d.push_back(to_double(d_rho[j]));
  }
  CHECK(error(got_theta, expected_theta) < kTolerance<T>);
  CHECK(error(got_d, expected_d) < kTolerance<T>);
}

template <class T>
void test_all() {
  for (const int64_t size : {0, 1, 3, 16, 255, 256, 257, 1000, 5000}) {
    test<T>(size, {42, 0});
    test<T>(size, {-1, (int64_t{1} << 32) - 3});
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
