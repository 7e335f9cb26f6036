// The divergence and its gradients against plain loops in double, in pieces, near q = p and far down in ρ.
#include "../cpu/elementwise/gaussian_kl.h"

#include <algorithm>

#include "check.h"
#include "gaussians.h"
#include "isa_or_skip.h"

using namespace base_fast;
using namespace vectors;

namespace {

template <class T>
void test(int64_t size, bool shared, bool of_prior) {
  const Posterior<T> q(size, shared);
  const double grad = 0.375;
  double expected = 0.0;
  Gradients<T> d(size, of_prior), pieces(size, of_prior);
  for (int64_t i = 0; i < size; ++i) {
    const Element x(q, i);
    expected += x.term();
    d.expect(grad * x.d_mu(), grad * x.d_rho(), -grad * x.d_mu(), grad * x.d_prior_rho());
  }
  const auto backward = BF_KERNEL(gaussian_kl_backward<T>);
  const double kl = BF_KERNEL(gaussian_kl<T>)(q.data(), 0, size);
  backward(grad, q.data(), d.data(), 0, size);
  for (int64_t begin = 0; begin < size; begin += 300) {
    backward(grad, q.data(), pieces.data(), begin, std::min(begin + 300, size));
  }
  CHECK(std::fabs(kl - expected) <= (sizeof(T) == 8 ? 1e-13 : 1e-6) * expected);
  CHECK(d.largest_error() < kGradientTolerance<T>);
  CHECK(d.same_bits(pieces));
}

// Where q is p the divergence is 0 exactly, and next to it no rounding error drowns it.
void test_near_prior() {
  const auto kernel = BF_KERNEL(gaussian_kl<float>);
  Posterior<float> q(1000, false);
  q.mu = q.prior_mu, q.rho = q.prior_rho;
  CHECK(kernel(q.data(), 0, 1000) == 0.0);
  for (const double step : {1e-3, 1e-5}) {
    q.rho = q.prior_rho;
    for (float& one : q.rho) one += static_cast<float>(step);
    double expected = 0.0;
    for (int64_t i = 0; i < 1000; ++i) {
      const double prior_sigma = Element(q, i).prior_sigma, d = (Element(q, i).sigma - prior_sigma) / prior_sigma;
      expected += 0.5 * d * d + (d - std::log1p(d));
    }
    const double kl = kernel(q.data(), 0, 1000);
    CHECK(kl > 0.0 && std::fabs(kl - expected) < 1e-6 / step * expected);
  }
}

// σ underflows, the divergence grows as −ρ and its gradient stays −1.
void test_small_sigma() {
  Posterior<float> q(1, true);
  q.mu = q.prior_mu;
  double before = 0.0;
  for (const float rho : {-60.0f, -80.0f, -100.0f, -1000.0f}) {
    q.rho[0] = rho;
    Gradients<float> d(1, false);
    const double kl = BF_KERNEL(gaussian_kl<float>)(q.data(), 0, 1);
    BF_KERNEL(gaussian_kl_backward<float>)(1.0, q.data(), d.data(), 0, 1);
    CHECK(std::fabs(kl - (std::log(Element(q, 0).prior_sigma) - rho - 0.5)) < 1e-6 * kl && kl > before);
    CHECK(std::fabs(d.d[1][0] + 1.0f) < 1e-6f);
    before = kl;
  }
}

template <class T>
void test_all() {
  for (const int64_t size : {0, 1, 15, 16, 255, 256, 257, 1000, 5000}) {
    for (const bool shared : {false, true}) test<T>(size, shared, false), test<T>(size, shared, true);
  }
}

}  // namespace

int main() {
  BF_ISA_OR_SKIP();
  test_all<float>();
  test_all<double>();
  test_all<bfloat16>();
  test_near_prior();
  test_small_sigma();
  return failures() != 0;
}
