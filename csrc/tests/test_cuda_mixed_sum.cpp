// The CUDA kernels' bodies on the host against sums in double, over tensors of all strides.
#include "../cuda/mixed_sum.h"
#include "check.h"
#include "strided.h"
#include "vectors.h"

using namespace base_fast::host;
using strided::Format;
using strided::Tensor4;

constexpr unsigned kBlockThreads = 32;

// Runs the launches of the op as mixed_sum.cu does.
template <class T>
void compare(const std::vector<int64_t>& shape, int branches, std::vector<Format> formats, bool expect_alike) {
  using C = base_fast::compute_t<T>;
  std::vector<Tensor4<T>> x, dx;
  Tensor4<T> grad(shape, formats[0]), y(shape, formats[0]);
  Tensor4<C> sums(shape, formats[0]);
  grad.fill(99, 1.0, 0.25);
  std::vector<int64_t> positions;
  const int entries = branches + 2;  // one without a branch, and two branches of one
  for (int k = 0; k < branches; ++k) {
    const Format format = formats[k % formats.size()];
    x.emplace_back(shape, format);
    x.back().fill(k, 1.0, 0.1 * k);
    dx.emplace_back(shape, format == Format::expanded ? Format::contiguous : format);
    positions.push_back(k == 1 ? 0 : k + 1);
  }
  const auto weights = vectors::values<T>(entries, 1.0, 0.2);
  const int64_t count = y.count();
  auto d_weights = vectors::nans<T>(entries);
  auto d_weight_sums = vectors::nans<double>(entries);

  for (const Group& group : groups_of(branches)) {
    Branches<T, T> from{};
    Positions of_weights{};
    from.count = of_weights.count = group.count;
    std::vector<Operand> forward{y.operand(0)}, backward{grad.operand(0)};
    for (int k = 0; k < group.count; ++k) {
      const int64_t at = group.start + k;
      from.x[k] = x[at].data(), from.dx[k] = dx[at].data();
      from.position[k] = of_weights.at[k] = positions[at];
      forward.push_back(x[at].operand(1 + k));
      backward.push_back(x[at].operand(1 + k));
      backward.push_back(dx[at].operand(1 + kBranches + k));
    }
    const unsigned parts = 3;
    auto partials = vectors::nans<double>(group.count * parts);
    WalkedElements there{count, {}}, back{count, {}};
    CHECK(walk_over(forward, all_axes(forward[0]), there.walk));
    CHECK(walk_over(backward, all_axes(backward[0]), back.walk));
    CHECK(is_alike(there.walk, forward) == expect_alike && is_alike(back.walk, backward) == expect_alike);
    if (is_alike(there.walk, forward)) {
      base_fast_host::launch(3, kBlockThreads, mixed_sum_kernel<T, AlikeElements>,
                             AlikeElements{count, all_aligned(forward)}, from, weights.data(), sums.data(), group.first,
                             group.last, y.data());
    } else {
      base_fast_host::launch(3, kBlockThreads, mixed_sum_kernel<T, WalkedElements>, there, from, weights.data(),
                             sums.data(), group.first, group.last, y.data());
    }
    if (is_alike(back.walk, backward)) {
      base_fast_host::launch(group.count * parts, kBlockThreads, mixed_sum_backward_kernel<T, AlikeElements>,
                             AlikeElements{count, all_aligned(backward)}, grad.data(), from, weights.data(),
                             partials.data());
    } else {
      base_fast_host::launch(group.count * parts, kBlockThreads, mixed_sum_backward_kernel<T, WalkedElements>, back,
                             grad.data(), from, weights.data(), partials.data());
    }
    base_fast_host::launch(entries, kBlockThreads, d_weights_kernel<T>, partials.data(), int64_t{parts}, of_weights,
                           d_weight_sums.data(), group.first, group.last, d_weights.data());
  }

  vectors::Vector<double> expected_y(count, 0.0), found_y(count);
  vectors::Vector<double> expected_d(branches * count), found_d(branches * count);
  vectors::Vector<double> expected_weights(entries, 0.0), found_weights(entries);
  for (int k = 0; k < branches; ++k) {
    const double weight = vectors::to_double(weights[positions[k]]);
    for (int64_t i = 0; i < count; ++i) {
      expected_y[i] += weight * x[k].at(i);
      expected_d[k * count + i] = weight * grad.at(i);
      found_d[k * count + i] = dx[k].at(i);
      expected_weights[positions[k]] += grad.at(i) * x[k].at(i);
    }
  }
  for (int64_t i = 0; i < count; ++i) found_y[i] = y.at(i);
  for (int l = 0; l < entries; ++l) found_weights[l] = vectors::to_double(d_weights[l]);
  CHECK(vectors::error(found_y, expected_y) <= vectors::kTolerance<T>);
  CHECK(vectors::error(found_d, expected_d) <= vectors::kTolerance<T>);
  CHECK(vectors::error(found_weights, expected_weights) <= vectors::kTolerance<T>);
}

void test_divisor() {
  for (int64_t divisor : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{7}, int64_t{64}, int64_t{1000003},
                          (int64_t{1} << 33) - 1, (int64_t{1} << 40), INT64_MAX}) {
    const Divisor by(divisor);
    for (int64_t n : {int64_t{0}, int64_t{1}, divisor - 1, divisor, int64_t{123456789}, int64_t{1} << 41, INT64_MAX - 1,
                      INT64_MAX, divisor > INT64_MAX / 5 ? divisor : 5 * divisor - 1}) {
      int64_t rest = n;
      CHECK(by.divide(rest) == n / divisor && rest == n % divisor);
    }
  }
}

template <class T>
void compare_all() {
  const Format c = Format::contiguous, l = Format::channels_last, s = Format::sliced, e = Format::expanded;
  compare<T>({2, 3, 5, 7}, 1, {c}, true);
  compare<T>({2, 8, 4, 8}, 7, {c}, true);
  compare<T>({2, 5, 3, 3}, 3, {l}, true);
  compare<T>({1, 4, 6, 2}, 4, {c, l}, false);
  compare<T>({3, 5, 4, 3}, 5, {l, c, s, e}, false);
  compare<T>({2, 3, 2, 5}, 3, {s, c}, false);
  compare<T>({2, 3, 2, 4}, 2, {Format::cropped}, false);
  compare<T>({2, 3, 4, 5}, 19, {c}, true);
  compare<T>({2, 3, 4, 5}, 18, {c, l, s}, false);
}

int main() {
  test_divisor();
  compare_all<float>();
  compare_all<double>();
  compare_all<base_fast::bfloat16>();
  return failures() != 0;
}
