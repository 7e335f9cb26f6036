#include <cmath>

#define BF_DECLARATIONS "gumbel_softmax.h"
#include "declare.h"
#include "parallel.h"
#include "registration.h"
#include "tensor.h"

namespace base_fast {
namespace {

// Rows of `length`, one after the other.
struct Rows {
  int64_t length;
  int64_t count;

  explicit Rows(const Tensor& x) : length(0), count(0) {
    STD_TORCH_CHECK(x.dim() > 0, "expected at least one axis");
    length = x.size(x.dim() - 1);
    STD_TORCH_CHECK(length > 0, "expected rows of at least one element");
    count = x.numel() / length;
  }

  template <class F>
  void parallel(const F& f) const {
    if (count > 0) base_fast::parallel(count, f, std::max<int64_t>(1, kCut / length));
  }
};

void draw(const Tensor& logits, const Tensor& z, const Tensor* log_density, const Tensor& key, double tau, bool hard,
          double noise) {
  const Rows rows(logits);
  const Key k = key_of(key);
  const double entries = static_cast<double>(rows.length);
  const double constant = log_density != nullptr ? std::lgamma(entries) + (entries - 1.0) * std::log(tau) : 0.0;
  with_type(logits.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto kernel = BF_KERNEL(gumbel_softmax<T>);
    const T* const from = data<T>(logits);
    T* const to = mutable_data<T>(z);
    T* const density = log_density != nullptr ? mutable_data<T>(*log_density) : nullptr;
    rows.parallel([&](int64_t begin, int64_t end) {
      kernel(from, to, density, begin, end, rows.length, k, tau, hard, noise, constant);
    });
  });
}

Tensor gradient(const Tensor& grad, const Tensor* grad_density, const Tensor& z, double tau) {
  check_like(grad, z, "grad");
  const Rows rows(z);
  if (grad_density != nullptr) {
    STD_TORCH_CHECK(grad_density->scalar_type() == z.scalar_type() && grad_density->numel() == rows.count,
                    "grad_density: expected one value per row of z");
  }
  const Tensor g = dense(grad), value = dense(z), d_logits = output_like(value);
  const Tensor of_density = grad_density != nullptr ? dense(*grad_density) : g;
  with_type(z.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto kernel = BF_KERNEL(gumbel_softmax_backward<T>);
    const T* const from = data<T>(g);
    const T* const density = grad_density != nullptr ? data<T>(of_density) : nullptr;
    const T* const at = data<T>(value);
    T* const to = mutable_data<T>(d_logits);
    rows.parallel([&](int64_t begin, int64_t end) {
      kernel(from, density, at, to, begin, end, rows.length, tau);
    });
  });
  return d_logits;
}

Tensor gumbel_softmax(const Tensor& logits, const Tensor& key, double tau, bool hard, double noise) {
  const Tensor phi = dense(logits), z = output_like(phi);
  draw(phi, z, nullptr, key, tau, hard, noise);
  return z;
}

Tensor gumbel_softmax_backward(const Tensor& grad, const Tensor& z, double tau) {
  return gradient(grad, nullptr, z, tau);
}

std::tuple<Tensor, Tensor> gumbel_softmax_log_density(const Tensor& logits, const Tensor& key, double tau,
                                                      double noise) {
  STD_TORCH_CHECK(logits.dim() > 0, "expected at least one axis");
  const Tensor phi = dense(logits), z = output_like(phi);
  const std::vector<int64_t> rows(phi.sizes().begin(), phi.sizes().end() - 1);
  const Tensor log_density = empty(rows, phi.scalar_type());
  draw(phi, z, &log_density, key, tau, false, noise);
  return {z, log_density};
}

Tensor gumbel_softmax_log_density_backward(const Tensor& grad_z, const Tensor& grad_density, const Tensor& z,
                                           double tau) {
  return gradient(grad_z, &grad_density, z, tau);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, gumbel_softmax);
  BF_REGISTER(library, gumbel_softmax_backward);
  BF_REGISTER(library, gumbel_softmax_log_density);
  BF_REGISTER(library, gumbel_softmax_log_density_backward);
}

}  // namespace base_fast
