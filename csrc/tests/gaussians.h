// A posterior and its prior with a mixed bag of values, and what KL kernels should make of them, in double.
#pragma once

#include "../cpu/elementwise/gaussians.h"
#include "noise.h"
#include "vectors.h"

namespace vectors {

template <class T>
struct Posterior {
  Vector<T> mu, rho, prior_mu, prior_rho;
  bool shared;

  Posterior(int64_t size, bool shared_prior)
      : mu(values<T>(size, 1.0, 0.25)),
        rho(values<T>(size, 2.0, -2.0)),
        prior_mu(values<T>(shared_prior ? 1 : size, 0.5, -0.25)),
        prior_rho(values<T>(shared_prior ? 1 : size, 1.5, -1.5)),
        shared(shared_prior) {}

  base_fast::Gaussians<T> data() const { return {mu.data(), rho.data(), prior_mu.data(), prior_rho.data(), shared}; }
  size_t prior_at(int64_t i) const { return shared ? 0 : static_cast<size_t>(i); }
};

// Of one element, in double.
struct Element {
  double mu, rho, sigma, prior_rho, prior_sigma, difference;

  template <class T>
  Element(const Posterior<T>& q, int64_t i)
      : mu(to_double(q.mu[static_cast<size_t>(i)])),
        rho(to_double(q.rho[static_cast<size_t>(i)])),
        sigma(softplus(rho)),
        prior_rho(to_double(q.prior_rho[q.prior_at(i)])),
        prior_sigma(softplus(prior_rho)),
        difference(mu - to_double(q.prior_mu[q.prior_at(i)])) {}

  double variance() const { return prior_sigma * prior_sigma; }
  double term() const {
    return std::log(prior_sigma / sigma) + (sigma * sigma + difference * difference) / (2.0 * variance()) - 0.5;
  }
  double d_mu() const { return difference / variance(); }
  double d_rho() const { return sigmoid(rho) * (sigma / variance() - 1.0 / sigma); }
  double d_prior_rho() const {
    const double square = sigma * sigma + difference * difference;
    return sigmoid(prior_rho) * (1.0 / prior_sigma - square / (variance() * prior_sigma));
  }
};

// The four gradients, each with its expected values beside it.
template <class T>
struct Gradients {
  Vector<T> d[4];
  Vector<double> expected[4];
  bool prior;

  Gradients(int64_t size, bool of_prior) : prior(of_prior) {
    for (auto& one : d) one = nans<T>(size);
  }
  base_fast::GaussianGradients<T> data() {
    return {d[0].data(), d[1].data(), prior ? d[2].data() : nullptr, prior ? d[3].data() : nullptr};
  }
  void expect(double d_mu, double d_rho, double d_prior_mu, double d_prior_rho) {
    const double values[] = {d_mu, d_rho, d_prior_mu, d_prior_rho};
    for (int k = 0; k < 4; ++k) expected[k].push_back(values[k]);
  }
  double largest_error() const {
    double largest = 0.0;
    for (int k = 0; k < (prior ? 4 : 2); ++k) {
      Vector<double> got;
      for (const T& one : d[k]) got.push_back(to_double(one));
      largest = std::fmax(largest, error(got, expected[k]));
    }
    return largest;
  }
  bool same_bits(const Gradients& other) const {
    bool same = true;
    for (int k = 0; k < (prior ? 4 : 2); ++k) same = same && equal_bits(d[k], other.d[k]);
    return same;
  }
};

// Relative errors of terms that are themselves differences: a few units more than of a stored result.
template <class T>
constexpr double kGradientTolerance = 4.0 * kTolerance<T>;
template <>
inline constexpr double kGradientTolerance<double> = 1e-12;

}  // namespace vectors
