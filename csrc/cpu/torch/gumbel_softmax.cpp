#include "../elementwise/gumbel_softmax.h"
#include "../memory/buffer.h"
#include "threads.h"
#include "registration.h"
#include "tensor.h"

#include "../../core/bfloat16.h"

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

Tensor gumbel_softmax(const Tensor& logits, const Tensor& key, double tau, bool hard, double noise) {
  const Tensor phi = dense(logits), z = output_like(phi);
  const Rows rows(phi);
  const Key k = key_of(key);
  with_type(phi.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using C = compute_t<T>;
    const auto kernel = BF_KERNEL(gumbel_softmax<T, C>);
    const T* const from = data<T>(phi);
    T* const to = mutable_data<T>(z);
    rows.parallel([&](int64_t begin, int64_t end) {
      struct RowScratch;
      C* const scratch = thread_memory<RowScratch, C>((rows.length + 15) / 16 * 16);
      kernel(from, to, begin, end, rows.length, k, tau, hard, noise, scratch);
    });
  });
  return z;
}

Tensor gumbel_softmax_backward(const Tensor& grad, const Tensor& z, double tau) {
  check_like(grad, z, "grad");
  const Rows rows(z);
  const Tensor g = dense(grad), value = dense(z), d_logits = output_like(value);
  with_type(z.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto kernel = BF_KERNEL(gumbel_softmax_backward<T>);
    const T* const from = data<T>(g);
    const T* const at = data<T>(value);
    T* const to = mutable_data<T>(d_logits);
    rows.parallel([&](int64_t begin, int64_t end) { kernel(from, at, to, begin, end, rows.length, tau); });
  });
  return d_logits;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, gumbel_softmax);
  BF_REGISTER(library, gumbel_softmax_backward);
}

}  // namespace base_fast
