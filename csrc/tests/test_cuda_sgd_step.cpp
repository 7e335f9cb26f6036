// The CUDA kernels' bodies on the host against the formula in double.
#include "../cuda/sgd_step.h"
#include "check.h"
#include "vectors.h"

using namespace base_fast::host;

// Two blocks for every vector, however long it is.
template <class T>
void compare(const std::vector<int64_t>& counts, double clip, double scale, bool aligned) {
  std::vector<vectors::Vector<T>> x, g, after;
  SgdVectors<T> vectors{};
  double square = 0.0;
  for (size_t i = 0; i < counts.size(); ++i) {
    x.push_back(vectors::values<T>(counts[i], 1.0, 0.1));
    g.push_back(vectors::values<T>(counts[i] + 1, scale, 0.0));
    after.push_back(vectors::nans<T>(counts[i]));
    for (int64_t j = 0; j < counts[i]; ++j) square += std::pow(vectors::to_double(g[i][j]), 2);
    vectors.at[vectors.count++] = {
        x[i].data(), g[i].data(), after[i].data(), 0.1 * (i + 1), counts[i], static_cast<unsigned>(2 * i), 2, aligned};
  }
  const unsigned blocks = 2 * vectors.count;
  auto partials = vectors::nans<double>(blocks), norm = vectors::nans<double>(1);
  const double* const none = nullptr;
  const bool clips = clip != 0.0;
  base_fast_host::launch(blocks, 32, clips ? sgd_step_kernel<T, true, false> : sgd_step_kernel<T, true, true>, vectors,
                         clip, none, partials.data());
  base_fast_host::launch(1, 32, sgd_norm_kernel, partials.data(), int64_t{blocks}, norm.data());
  if (clips) {
    base_fast_host::launch(blocks, 32, sgd_step_kernel<T, false, true>, vectors, clip, norm.data(),
                           static_cast<double*>(nullptr));
  }
  const double expected_norm = std::sqrt(square);
  CHECK(std::fabs(norm[0] - expected_norm) <= 1e-12 * expected_norm);
  const double s = clips && clip / expected_norm < 1.0 ? clip / expected_norm : 1.0;
  for (size_t i = 0; i < counts.size(); ++i) {
    vectors::Vector<double> expected, found;
    for (int64_t j = 0; j < counts[i]; ++j) {
      expected.push_back(vectors::to_double(x[i][j]) - 0.1 * (i + 1) * s * vectors::to_double(g[i][j]));
      found.push_back(vectors::to_double(after[i][j]));
    }
    CHECK(vectors::error(found, expected) <= vectors::kTolerance<T>);
  }
}

// What the caller is to report.
void test_not_finite() {
  for (double clip : {0.0, 1.0}) {
    for (double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      const float x[1] = {1.0f}, g[1] = {static_cast<float>(bad)};
      float after[1] = {0.0f};
      SgdVectors<float> vectors{};
      vectors.count = 1;
      vectors.at[0] = {x, g, after, 0.1, 1, 0, 1, false};
      double partial = 0.0, norm = 0.0;
      base_fast_host::launch(1, 32, sgd_step_kernel<float, true, false>, vectors, clip,
                             static_cast<const double*>(nullptr), &partial);
      base_fast_host::launch(1, 32, sgd_norm_kernel, static_cast<const double*>(&partial), int64_t{1}, &norm);
      base_fast_host::launch(1, 32, sgd_step_kernel<float, false, true>, vectors, clip,
                             static_cast<const double*>(&norm), static_cast<double*>(nullptr));
      CHECK(std::isnan(bad) ? std::isnan(norm) : norm == bad);
      CHECK(!std::isfinite(after[0]));
    }
  }
}

template <class T>
void compare_all() {
  for (bool aligned : {false, true}) {
    for (double clip : {0.0, 0.5, 1e6}) {
      compare<T>({1027, 5, 0, 64}, clip, 1.0, aligned);
      compare<T>({1}, clip, 1.0, aligned);
    }
  }
}

int main() {
  compare_all<float>();
  compare_all<double>();
  compare_all<base_fast::bfloat16>();
  compare<float>({130}, 1.0, 1e30, true);  // whose squares a float does not hold
  test_not_finite();
  return failures() != 0;
}
