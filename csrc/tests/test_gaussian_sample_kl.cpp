// Samples with their divergence, in one pass: the bits of the two kernels, and gradients against plain loops in double.
#include "../cpu/elementwise/gaussian_sample_kl.h"

#include <algorithm>

#include "../cpu/elementwise/gaussian_kl.h"
#include "../cpu/elementwise/gaussian_sample.h"
#include "check.h"
#include "gaussians.h"
#include "isa_or_skip.h"

using namespace base_fast;
using namespace vectors;

namespace {

template <class T>
void test(int64_t size, bool shared, bool of_prior, Key key) {
  const Posterior<T> q(size, shared);
  Vector<T> theta = nans<T>(size), alone = theta;
  const double kl = BF_KERNEL(gaussian_sample_kl<T>)(q.data(), theta.data(), 0, size, key);
  BF_KERNEL(gaussian_sample<T>)(q.mu.data(), q.rho.data(), alone.data(), 0, size, key);
  CHECK(equal_bits(theta, alone));
  CHECK(kl == BF_KERNEL(gaussian_kl<T>)(q.data(), 0, size));

  const Vector<T> grad_theta = values<T>(size, 1.0, 0.0);
  const double grad_kl = 0.375;
  Gradients<T> d(size, of_prior), pieces(size, of_prior);
  for (int64_t i = 0; i < size; ++i) {
    const Element x(q, i);
    const double g = to_double(grad_theta[static_cast<size_t>(i)]);
    d.expect(g + grad_kl * x.d_mu(), g * sigmoid(x.rho) * normal_at(key, i) + grad_kl * x.d_rho(), -grad_kl * x.d_mu(),
             grad_kl * x.d_prior_rho());
  }
  const auto backward = BF_KERNEL(gaussian_sample_kl_backward<T>);
  backward(grad_theta.data(), grad_kl, q.data(), d.data(), 0, size, key);
  for (int64_t begin = 0; begin < size; begin += 300) {
    backward(grad_theta.data(), grad_kl, q.data(), pieces.data(), begin, std::min(begin + 300, size), key);
  }
  CHECK(d.largest_error() < (sizeof(T) == 8 ? kTolerance<T> : kGradientTolerance<T>));  // the noise is float32
  CHECK(d.same_bits(pieces));
}

template <class T>
void test_all() {
  for (const int64_t size : {0, 1, 15, 16, 255, 256, 257, 1000, 5000}) {
    for (const bool shared : {false, true}) {
      test<T>(size, shared, false, {42, 0});
      test<T>(size, shared, true, {-7, (int64_t{1} << 32) - 3});
    }
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
