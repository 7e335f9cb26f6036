// The CUDA kernels' bodies on the host against the formulas in double.
#include "../cuda/gaussian_kl.h"
#include "../cuda/gaussian_sample.h"
#include "../cuda/gaussian_sample_kl.h"
#include "check.h"
#include "vectors.h"

using base_fast::GaussianGradients;
using base_fast::Gaussians;
using base_fast::Key;
using vectors::to_double;

double softplus(double x) { return std::log1p(std::exp(x)); }
double slope(double rho) { return 1.0 / (1.0 + std::exp(-rho)) / softplus(rho); }

constexpr unsigned kBlocks = 3, kBlockThreads = 32;

template <class T>
struct Case {
  int64_t count;
  bool shared;
  vectors::Vector<T> mu, rho, prior_mu, prior_rho, grad;

  Case(int64_t count, bool shared)
      : count(count),
        shared(shared),
        mu(vectors::values<T>(count, 1.0, 0.0)),
        rho(vectors::values<T>(count, 3.0, -2.0)),
        prior_mu(vectors::values<T>(count + 1, 1.0, 0.1)),
        prior_rho(vectors::values<T>(count + 1, 1.0, -1.0)),
        grad(vectors::values<T>(count, 1.0, 0.5)) {}

  Gaussians<T> data() const { return {mu.data(), rho.data(), prior_mu.data(), prior_rho.data(), shared}; }

  // σ/σ₀, (μ − μ₀)/σ₀ and σ₀.
  struct Terms {
    double ratio, distance, sigma, rho;
  };
  Terms terms(int64_t i) const {
    const int64_t of_prior = shared ? 0 : i;
    const double rho0 = to_double(prior_rho[of_prior]), sigma = softplus(rho0);
    const double distance = to_double(mu[i]) - to_double(prior_mu[of_prior]);
    return {softplus(to_double(rho[i])) / sigma, distance / sigma, sigma, rho0};
  }
  double kl() const {
    double sum = 0.0;
    for (int64_t i = 0; i < count; ++i) {
      const Terms t = terms(i);
      sum += 0.5 * (t.ratio * t.ratio + t.distance * t.distance - 1.0) - std::log(t.ratio);
    }
    return sum;
  }
};

template <class T>
double kl_of(const vectors::Vector<double>& partials) {
  vectors::Vector<T> kl = vectors::nans<T>(1);
  base_fast_host::launch(1, kBlockThreads, base_fast::host::total_kernel<T>, partials.data(),
                         static_cast<int64_t>(partials.size()), kl.data());
  return to_double(kl[0]);
}

bool near(double x, double y, double tolerance) { return std::fabs(x - y) <= tolerance * std::fmax(1.0, std::fabs(y)); }

template <class T>
void compare(int64_t count, bool shared, bool aligned, bool of_prior) {
  const Case<T> c(count, shared);
  const Key key{-12, (int64_t{1} << 32) - 3};
  const int64_t words[2] = {key.seed, key.offset};
  const double tolerance = vectors::kTolerance<T>;

  auto partials = vectors::nans<double>(kBlocks);
  base_fast_host::launch(kBlocks, kBlockThreads, base_fast::host::gaussian_kl_kernel<T>, c.data(), partials.data(),
                         count, aligned);
  CHECK(near(kl_of<T>(partials), c.kl(), tolerance));

  auto theta = vectors::nans<T>(count), expected_theta = vectors::nans<T>(count);
  auto again = vectors::nans<double>(kBlocks);
  base_fast_host::launch(kBlocks, kBlockThreads, base_fast::host::gaussian_sample_kl_kernel<T>, c.data(), &words[0],
                         theta.data(), again.data(), count, aligned);
  CHECK(vectors::equal_bits(again, partials));
  base_fast_host::launch(kBlocks, kBlockThreads, base_fast::host::gaussian_sample_kernel<T>, c.mu.data(), c.rho.data(),
                         &words[0], expected_theta.data(), count, aligned);
  CHECK(vectors::equal_bits(theta, expected_theta));

  // Gradients of KL, and of θ and KL together.
  const T g_kl = vectors::of_double<T>(0.75);
  auto d_mu = vectors::nans<T>(count), d_rho = d_mu, d_prior_mu = d_mu, d_prior_rho = d_mu;
  const auto gradients = [&] {
    for (auto* d : {&d_mu, &d_rho, &d_prior_mu, &d_prior_rho}) *d = vectors::nans<T>(count);
    return GaussianGradients<T>{d_mu.data(), d_rho.data(), of_prior ? d_prior_mu.data() : nullptr,
                                of_prior ? d_prior_rho.data() : nullptr};
  };
  const auto check = [&](double of_theta) {
    vectors::Vector<double> expected[4], found[4];
    for (int64_t i = 0; i < count; ++i) {
      const auto t = c.terms(i);
      const double rho = to_double(c.rho[i]), epsilon = base_fast::host::normal4(key, i / 4).x[i % 4];
      const double g_theta = of_theta * to_double(c.grad[i]), g_mu = 0.75 * t.distance / t.sigma;
      expected[0].push_back(g_theta + g_mu);
      expected[1].push_back(g_theta * epsilon / (1.0 + std::exp(-rho)) + 0.75 * (t.ratio * t.ratio - 1.0) * slope(rho));
      expected[2].push_back(-g_mu);
      expected[3].push_back(0.75 * (1.0 - t.ratio * t.ratio - t.distance * t.distance) * slope(t.rho));
      int at = 0;
      for (const auto* d : {&d_mu, &d_rho, &d_prior_mu, &d_prior_rho}) found[at++].push_back(to_double((*d)[i]));
    }
    for (int at = 0; at < (of_prior ? 4 : 2); ++at) CHECK(vectors::error(found[at], expected[at]) <= 4 * tolerance);
    if (!of_prior) CHECK(vectors::equal_bits(d_prior_mu, vectors::nans<T>(count)));
  };
  base_fast_host::launch(kBlocks, kBlockThreads, base_fast::host::gaussian_kl_backward_kernel<T>, &g_kl, c.data(),
                         gradients(), count, aligned);
  check(0.0);
  base_fast_host::launch(kBlocks, kBlockThreads, base_fast::host::gaussian_sample_kl_backward_kernel<T>, c.grad.data(),
                         &g_kl, c.data(), &words[0], gradients(), count, aligned);
  check(1.0);
}

int main() {
  for (int64_t count : {3, 4, 1027}) {
    for (int flags = 0; flags < 8; ++flags) {
      compare<float>(count, flags & 1, flags & 2, flags & 4);
      compare<double>(count, flags & 1, flags & 2, flags & 4);
      compare<base_fast::bfloat16>(count, flags & 1, flags & 2, flags & 4);
    }
  }
  return failures() != 0;
}
