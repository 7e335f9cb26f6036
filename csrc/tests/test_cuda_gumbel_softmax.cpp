// The CUDA kernels' bodies on the host against the formulas in double.
#include "../cuda/gumbel_softmax.h"
#include "check.h"
#include "vectors.h"

using namespace base_fast::host;
using base_fast::Key;
using vectors::to_double;

constexpr unsigned kBlocks = 3, kBlockThreads = 32;
constexpr double kTau = 0.7;

double log_sum_exp(const std::vector<double>& x) {
  double most = x[0], sum = 0.0;
  for (double one : x) most = std::fmax(most, one);
  for (double one : x) sum += std::exp(one - most);
  return most + std::log(sum);
}

template <class T>
struct Case {
  int64_t rows, entries, count;
  double noise;
  Key key{-12, (int64_t{1} << 32) - 3};
  vectors::Vector<T> logits, grad;
  vectors::Vector<double> z;  // what is expected

  Case(int64_t rows, int64_t entries, double noise)
      : rows(rows),
        entries(entries),
        count(rows * entries),
        noise(noise),
        logits(vectors::values<T>(count, 2.0, 0.0)),
        grad(vectors::values<T>(count, 1.0, 0.25)) {
    for (int64_t row = 0; row < rows; ++row) {
      std::vector<double> scores;
      for (int64_t i = row * entries; i < (row + 1) * entries; ++i) {
        scores.push_back((to_double(logits[i]) + noise * gumbel4(key, i / 4).x[i % 4]) / kTau);
      }
      const double normalizer = log_sum_exp(scores);
      for (double score : scores) z.push_back(std::exp(score - normalizer));
    }
  }

  vectors::Vector<T> sampled(bool hard, bool aligned) const {
    auto found = vectors::nans<T>(count);
    const int64_t words[2] = {key.seed, key.offset};
    if (entries > kLongest) {
      base_fast_host::launch(kBlocks, kBlockThreads, gumbel_softmax_long_kernel<T>, logits.data(), &words[0], rows,
                             entries, kTau, hard, noise, found.data());
    } else {
      base_fast_host::launch(kBlocks, kBlockThreads, gumbel_softmax_kernel<T>, logits.data(), &words[0],
                             RowTiles::of(rows, entries, kBlockThreads), kTau, hard, noise, found.data(), aligned);
    }
    return found;
  }

  vectors::Vector<T> pulled_back(const vectors::Vector<T>& y, bool aligned) const {
    auto found = vectors::nans<T>(count);
    if (entries > kLongest) {
      base_fast_host::launch(kBlocks, kBlockThreads, gumbel_softmax_long_backward_kernel<T>, grad.data(), y.data(),
                             rows, entries, kTau, found.data());
    } else {
      base_fast_host::launch(kBlocks, kBlockThreads, gumbel_softmax_backward_kernel<T>, grad.data(), y.data(),
                             RowTiles::of(rows, entries, kBlockThreads), kTau, found.data(), aligned);
    }
    return found;
  }
};

template <class T>
vectors::Vector<double> in_double(const vectors::Vector<T>& x) {
  vectors::Vector<double> y;
  for (const T& one : x) y.push_back(to_double(one));
  return y;
}

template <class T>
void compare(int64_t rows, int64_t entries, double noise, bool aligned) {
  const Case<T> c(rows, entries, noise);
  const double tolerance = vectors::kTolerance<T>;
  const auto z = c.sampled(false, aligned);
  CHECK(vectors::error(in_double(z), c.z) <= tolerance);

  const auto hard = c.sampled(true, aligned);
  vectors::Vector<double> one_hot(c.count, 0.0), d(c.count);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t begin = row * entries;
    int64_t first = begin;
    double inner = 0.0;
    for (int64_t i = begin; i < begin + entries; ++i) {
      if (to_double(z[i]) > to_double(z[first])) first = i;
      inner += to_double(c.grad[i]) * to_double(z[i]);
    }
    one_hot[first] = 1.0;
    for (int64_t i = begin; i < begin + entries; ++i) {
      d[i] = (to_double(c.grad[i]) - inner) * to_double(z[i]) / kTau;
    }
  }
  CHECK(vectors::error(in_double(hard), one_hot) == 0.0);
  CHECK(vectors::error(in_double(c.pulled_back(z, aligned)), d) <= tolerance);
}

// A row that is not a number stays so, and infects no other; equal entries: the first.
template <class T>
void test_edges() {
  const int64_t entries = 5, rows = 4;
  Case<T> c(rows, entries, 0.0);
  const double infinity = std::numeric_limits<double>::infinity();
  const double values[20] = {0.0,       std::nan(""), 1.0,       2.0,       3.0,                         //
                             -infinity, -infinity,    -infinity, -infinity, -infinity,    //
                             1.0,       1.0,          1.0,       1.0,       1.0,                                  //
                             -infinity, 2.0,          -infinity, 2.0,       -1000.0};
  for (int i = 0; i < 20; ++i) c.logits[i] = vectors::of_double<T>(values[i]);
  const auto z = in_double(c.sampled(false, true)), hard = in_double(c.sampled(true, true));
  for (int i = 0; i < 10; ++i) CHECK(std::isnan(z[i]) && std::isnan(hard[i]));
  for (int i = 10; i < 15; ++i) CHECK(std::fabs(z[i] - 0.2) < 1e-3 && hard[i] == (i == 10 ? 1.0 : 0.0));
  for (int i = 15; i < 20; ++i) CHECK(z[i] == (i == 16 || i == 18 ? 0.5 : 0.0) && hard[i] == (i == 16 ? 1.0 : 0.0));
}

template <class T>
void compare_all() {
  const int64_t shapes[][2] = {{1, 1}, {2100, 1}, {700, 5}, {301, 8}, {33, 64}, {5, 129}, {6, 510}, {5, 601}};
  int turn = 0;
  for (const auto& shape : shapes) {
    ++turn;
    compare<T>(shape[0], shape[1], turn % 3 == 0 ? 0.5 : 1.0, turn % 2 == 0);
  }
  test_edges<T>();
}

int main() {
  compare_all<float>();
  compare_all<double>();
  compare_all<base_fast::bfloat16>();
  return failures() != 0;
}
