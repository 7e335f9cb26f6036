// Samples, one-hots and gradients against plain loops in double, and in pieces.
#include "../cpu/elementwise/gumbel_softmax.h"

#include <algorithm>

#include "../cpu/memory/buffer.h"
#include "check.h"
#include "isa_or_skip.h"
#include "noise.h"
#include "vectors.h"

using namespace base_fast;
using namespace vectors;

namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

double log_sum_exp(const std::vector<double>& x) {
  const double most = *std::max_element(x.begin(), x.end());
  double sum = 0.0;
  for (double one : x) sum += std::exp(one - most);
  return most + std::log(sum);
}

template <class T>
struct Rows {
  int64_t count, length;
  Key key;
  double tau, noise;
  Vector<T> logits;

  Rows(int64_t rows, int64_t entries, Key k, double temperature, double scale)
      : count(rows),
        length(entries),
        key(k),
        tau(temperature),
        noise(scale),
        logits(values<T>(rows * entries, 3.0, 0.0)) {}

  // In pieces of so many rows.
  void draw(Vector<T>& z, bool hard, int64_t piece) const {
    using C = decltype(host::to_float(T{}));
    const Buffer<C> scratch((length + 15) / 16 * 16);
    for (int64_t begin = 0; begin < count; begin += piece) {
      BF_KERNEL(gumbel_softmax<T, C>)
      (logits.data(), z.data(), begin, std::min(begin + piece, count), length, key, tau, hard, noise, scratch.get());
    }
  }

  // z as it is written in the papers.
  Vector<double> expected() const {
    Vector<double> z;
    for (int64_t row = 0; row < count; ++row) {
      std::vector<double> x;
      for (int64_t i = row * length; i < (row + 1) * length; ++i) {
        x.push_back((to_double(logits[static_cast<size_t>(i)]) + noise * gumbel_at(key, i)) / tau);
      }
      const double lse = log_sum_exp(x);
      for (double one : x) z.push_back(std::exp(one - lse));
    }
    return z;
  }
};

template <class T>
Vector<double> doubles(const Vector<T>& x) {
  Vector<double> y;
  for (const T& one : x) y.push_back(to_double(one));
  return y;
}

template <class T>
void test(int64_t count, int64_t length, double tau, double noise) {
  const Rows<T> rows(count, length, {42, 5}, tau, noise);
  Vector<T> z = nans<T>(count * length), pieces = z, hard = z;
  rows.draw(z, false, std::max<int64_t>(count, 1));
  rows.draw(pieces, false, 7);
  rows.draw(hard, true, 11);
  CHECK(equal_bits(z, pieces));

  const double sharper = 20.0 / tau;  // scores are that large, and so are their rounding errors
  const double tolerance = sizeof(T) == 2 ? kTolerance<T> : kTolerance<T> * std::fmax(1.0, sharper / 8.0);
  CHECK(error(doubles(z), rows.expected()) < tolerance);
  for (int64_t row = 0; row < count; ++row) {
    const auto begin = z.begin() + row * length;
    const auto less = [](T a, T b) { return to_double(a) < to_double(b); };
    const int64_t first = std::max_element(begin, begin + length, less) - begin;
    for (int64_t l = 0; l < length; ++l) {
      if (to_double(hard[static_cast<size_t>(row * length + l)]) != (l == first ? 1.0 : 0.0)) CHECK(!"one-hot");
    }
  }
}

template <class T>
void test_backward(int64_t count, int64_t length) {
  const double tau = 0.5;
  const Rows<T> rows(count, length, {1, 2}, tau, 1.0);
  Vector<T> z = nans<T>(count * length), d = z, pieces = z;
  rows.draw(z, false, std::max<int64_t>(count, 1));
  const Vector<T> grad = values<T>(count * length, 1.0, 0.0);
  const auto kernel = BF_KERNEL(gumbel_softmax_backward<T>);
  kernel(grad.data(), z.data(), d.data(), 0, count, length, tau);
  for (int64_t begin = 0; begin < count; begin += 7) {
    kernel(grad.data(), z.data(), pieces.data(), begin, std::min(begin + 7, count), length, tau);
  }
  CHECK(equal_bits(d, pieces));
  Vector<double> expected;
  for (int64_t row = 0; row < count; ++row) {
    double inner = 0.0;
    const auto at = [&](const Vector<T>& x, int64_t l) { return to_double(x[static_cast<size_t>(row * length + l)]); };
    for (int64_t l = 0; l < length; ++l) inner += at(grad, l) * at(z, l);
    for (int64_t l = 0; l < length; ++l) expected.push_back((at(grad, l) - inner) * at(z, l) / tau);
  }
  CHECK(error(doubles(d), expected) < (sizeof(T) == 8 ? 1e-13 : kTolerance<T>));
}

// −inf is an impossible choice; NaN, and a row without a possible choice, give NaN, in soft and hard rows alike.
void test_edges(int64_t length) {
  Rows<float> rows(3, length, {3, 0}, 1.0, 1.0);
  rows.logits[1] = -static_cast<float>(kInfinite);
  rows.logits[static_cast<size_t>(2 * length - 1)] = std::nanf("");
  std::fill(rows.logits.begin() + 2 * length, rows.logits.end(), -static_cast<float>(kInfinite));
  for (const bool hard : {false, true}) {
    Vector<float> z = nans<float>(3 * length);
    rows.draw(z, hard, 3);
    double sum = 0.0;
    for (int64_t l = 0; l < length; ++l) sum += z[static_cast<size_t>(l)];
    CHECK(z[1] == 0.0f && std::fabs(sum - 1.0) < 1e-5);
    for (auto i = static_cast<size_t>(length); i < z.size(); ++i) CHECK(std::isnan(z[i]));
  }
}

template <class T>
void test_all() {
  const int64_t shapes[][2] = {{0, 8},   {1, 1},   {40, 1},  {14, 8}, {16, 8},   {300, 8}, {37, 5},
                               {600, 7}, {33, 63}, {17, 64}, {5, 65}, {3, 1000}, {2, 4096}};
  for (const auto& shape : shapes) {
    test<T>(shape[0], shape[1], 1.0, 1.0);
    test<T>(shape[0], shape[1], 0.2, 0.5);
    test<T>(shape[0], shape[1], 3.0, 0.0);
    test_backward<T>(shape[0], shape[1]);
  }
}

}  // namespace

int main() {
  BF_ISA_OR_SKIP();
  test_all<float>();
  test_all<double>();
  test_all<bfloat16>();
  for (const int64_t length : {2, 5, 8, 64, 65, 100}) test_edges(length);
  return failures() != 0;
}
