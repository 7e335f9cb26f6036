// The CUDA kernels' bodies on the host against batch norm and its gradient in double, over tensors of all strides.
#include "../cuda/mixed_norm_sum.h"
#include "../cuda/plan.h"
#include "check.h"
#include "strided.h"
#include "vectors.h"

using namespace base_fast::host;
using strided::Format;
using strided::Tensor4;

constexpr unsigned kBlockThreads = 32;
constexpr double kEps = 1e-3;

unsigned table_blocks(const Group& group, int64_t channels) {
  return static_cast<unsigned>(group.count * ((channels + kTableColumns - 1) / kTableColumns));
}

// The tensors of a call; X is what branches are stored in for backward.
template <class T, class X>
struct Case {
  using C = compute_t<T>;
  int64_t channels, pixels, count;
  std::vector<Tensor4<T>> x, dx;
  std::vector<Tensor4<X>> stored;
  Tensor4<T> y, grad;
  Tensor4<C> sums;
  vectors::Vector<T> weights;
  std::vector<int64_t> positions;
  std::vector<bool> normalized;
  vectors::Vector<C> mean, rstd;

  Case(const std::vector<int64_t>& shape, int branches, const std::vector<Format>& formats)
      : channels(shape[1]),
        pixels(shape[0] * shape[2] * shape[3]),
        count(channels * pixels),
        y(shape, formats[0]),
        grad(shape, formats[0]),
        sums(shape, formats[0]),
        weights(vectors::values<T>(branches + 2, 1.0, 0.2)),
        mean(vectors::nans<C>(branches * channels)),
        rstd(mean) {
    grad.fill(99, 1.0, 0.25);
    for (int k = 0; k < branches; ++k) {
      const Format format = formats[k % formats.size()];
      x.emplace_back(shape, format);
      x.back().fill(k, 1.0 + 0.1 * k, k % 3 != 1 ? 0.1 * k : sizeof(T) == 2 ? 1.0 : 1000.0);
      stored.emplace_back(shape, format);
      dx.emplace_back(shape, format);
      for (int64_t i = 0; i < count; ++i) stored.back()[i] = vectors::of_double<X>(x.back().at(i));
      positions.push_back(k == 1 ? 0 : k + 1);
      normalized.push_back(k != 2);
    }
  }

  template <class Y>
  void launches_of(const Group& group, std::vector<Tensor4<Y>>& tensors, bool gradients, Branches<Y, T>& branches,
                   Normalized& norms, Positions& of_weights, std::vector<Operand>& operands) {
    branches.count = of_weights.count = group.count;
    for (int k = 0; k < group.count; ++k) {
      const int64_t at = group.start + k;
      branches.x[k] = tensors[at].data(), branches.dx[k] = dx[at].data();
      branches.position[k] = of_weights.at[k] = positions[at];
      norms.at[k] = normalized[at];
      operands.push_back(tensors[at].operand(1 + k));
      if (gradients) operands.push_back(dx[at].operand(1 + kBranches + k));
    }
  }

  void forward(Lanes expected) {
    for (const Group& group : groups_of(x.size())) {
      Branches<T, T> branches{};
      Normalized norms{};
      Positions unused{};
      std::vector<Operand> operands{y.operand(0)};
      launches_of(group, x, false, branches, norms, unused, operands);
      const ChannelPlan plan(operands, group.count, kBlockThreads);
      CHECK(plan.lanes == expected);
      const int64_t table = group.count * channels;
      auto moments = vectors::nans<double>(2 * plan.walk.slices * table);
      auto terms = vectors::nans<C>(2 * table);
      C* const m = mean.data() + group.start * channels;
      C* const r = rstd.data() + group.start * channels;
      plan.with_lanes([&](auto lanes) {
        base_fast_host::launch(plan.blocks * group.count, kBlockThreads, mixed_norm_sum_moments_kernel<T, lanes.value>,
                               plan.walk, branches, moments.data());
        base_fast_host::launch(table_blocks(group, channels), kBlockThreads, mixed_norm_sum_statistics_kernel<T>,
                               plan.walk, branches, norms, weights.data(), 1.0 / pixels, kEps, moments.data(), m, r,
                               terms.data());
        base_fast_host::launch(plan.blocks, kBlockThreads, mixed_norm_sum_kernel<T, lanes.value>, plan.walk, branches,
                               m, terms.data(), sums.data(), group.first, group.last, y.data());
      });
    }
  }

  vectors::Vector<T> backward() {
    auto d_weights = vectors::nans<T>(weights.size());
    auto d_weight_sums = vectors::nans<double>(weights.size());
    for (const Group& group : groups_of(x.size())) {
      Branches<X, T> branches{};
      Normalized norms{};
      Positions of_weights{};
      std::vector<Operand> operands{grad.operand(0)};
      launches_of(group, stored, true, branches, norms, of_weights, operands);
      const ChannelPlan plan(operands, group.count, kBlockThreads);
      const int64_t table = group.count * channels;
      auto products = vectors::nans<double>(2 * plan.walk.slices * table), along = vectors::nans<double>(table);
      auto coefficients = vectors::nans<C>(3 * table);
      const C* const m = mean.data() + group.start * channels;
      const C* const r = rstd.data() + group.start * channels;
      plan.with_lanes([&](auto lanes) {
        base_fast_host::launch(plan.blocks * group.count, kBlockThreads,
                               mixed_norm_sum_products_kernel<T, X, lanes.value>, plan.walk, grad.data(), branches, m,
                               products.data());
        base_fast_host::launch(table_blocks(group, channels), kBlockThreads, mixed_norm_sum_coefficients_kernel<T>,
                               plan.walk, of_weights, norms, weights.data(), 1.0 / pixels, products.data(), m, r,
                               along.data(), coefficients.data());
        base_fast_host::launch(plan.blocks * group.count, kBlockThreads,
                               mixed_norm_sum_backward_kernel<T, X, lanes.value>, plan.walk, grad.data(), branches,
                               norms, m, coefficients.data());
      });
      base_fast_host::launch(static_cast<unsigned>(weights.size()), kBlockThreads, d_weights_kernel<T>, along.data(),
                             channels, of_weights, d_weight_sums.data(), group.first, group.last, d_weights.data());
    }
    return d_weights;
  }
};

template <class T, class X>
void compare(const std::vector<int64_t>& shape, int branches, const std::vector<Format>& formats, Lanes expected) {
  Case<T, X> c(shape, branches, formats);
  c.forward(expected);
  const auto d_weights = c.backward();

  vectors::Vector<double> y(c.count, 0.0), found_y(c.count), dx(branches * c.count), found_dx(dx);
  vectors::Vector<double> mean(branches * c.channels), rstd(mean), weights(c.weights.size(), 0.0);
  for (int k = 0; k < branches; ++k) {
    const double weight = vectors::to_double(c.weights[c.positions[k]]);
    vectors::Vector<double> g(c.channels, 0.0), gx(g), sum(g), square(g);
    for (int64_t i = 0; i < c.count; ++i) sum[c.y.channel(i)] += c.x[k].at(i) / c.pixels;
    for (int64_t i = 0; i < c.count; ++i) {
      const double d = c.x[k].at(i) - sum[c.y.channel(i)];
      square[c.y.channel(i)] += d * d / c.pixels;
    }
    double* const m = &mean[k * c.channels];
    double* const r = &rstd[k * c.channels];
    for (int64_t j = 0; j < c.channels; ++j) {
      m[j] = c.normalized[k] ? sum[j] : 0.0, r[j] = c.normalized[k] ? 1.0 / std::sqrt(square[j] + kEps) : 1.0;
    }
    // Backward takes mean and rstd as they were rounded.
    const auto x_hat = [&](int64_t i) {
      const int64_t j = k * c.channels + c.y.channel(i);
      return (c.stored[k].at(i) - vectors::to_double(c.mean[j])) * vectors::to_double(c.rstd[j]);
    };
    for (int64_t i = 0; i < c.count; ++i) {
      const int64_t j = c.y.channel(i);
      y[i] += weight * (c.x[k].at(i) - m[j]) * r[j];
      g[j] += c.grad.at(i) / c.pixels;
      gx[j] += c.grad.at(i) * x_hat(i) / c.pixels;
    }
    for (int64_t j = 0; j < c.channels; ++j) weights[c.positions[k]] += c.pixels * gx[j];
    for (int64_t i = 0; i < c.count; ++i) {
      const int64_t j = c.y.channel(i);
      dx[k * c.count + i] =
          weight * (c.normalized[k] ? r[j] * (c.grad.at(i) - g[j] - x_hat(i) * gx[j]) : c.grad.at(i));
      found_dx[k * c.count + i] = c.dx[k].at(i);
    }
  }
  vectors::Vector<double> found_mean, found_rstd, found_weights;
  for (const auto& one : c.mean) found_mean.push_back(vectors::to_double(one));
  for (const auto& one : c.rstd) found_rstd.push_back(vectors::to_double(one));
  for (const auto& one : d_weights) found_weights.push_back(vectors::to_double(one));
  for (int64_t i = 0; i < c.count; ++i) found_y[i] = c.y.at(i);
  // Sums over branches and, for the weights, over all elements.
  const double tolerance = sizeof(T) == 4 ? 1e-5 : vectors::kTolerance<T>;
  CHECK(vectors::error(found_mean, mean) <= tolerance);
  CHECK(vectors::error(found_rstd, rstd) <= tolerance);
  CHECK(vectors::error(found_y, y) <= tolerance);
  CHECK(vectors::error(found_dx, dx) <= tolerance);
  CHECK(vectors::error(found_weights, weights) <= 10 * tolerance);
}

template <class T, class X>
void compare_all() {
  const Format c = Format::contiguous, l = Format::channels_last, s = Format::sliced;
  compare<T, X>({3, 3, 4, 7}, 4, {c}, Lanes::pixels);
  compare<T, X>({5, 2, 20, 16}, 2, {c}, Lanes::pixels);
  compare<T, X>({2, 3, 5, 3}, 3, {c}, Lanes::none);
  compare<T, X>({3, 20, 5, 3}, 3, {l}, Lanes::channels);
  compare<T, X>({3, 5, 3, 3}, 3, {l}, Lanes::none);
  compare<T, X>({2, 8, 6, 4}, 4, {l, c, s}, Lanes::none);
  compare<T, X>({2, 2, 4, 8}, 2, {Format::cropped}, Lanes::none);
  compare<T, X>({2, 2, 4, 4}, 18, {c}, Lanes::pixels);
}

int main() {
  compare_all<float, float>();
  compare_all<double, double>();
  compare_all<base_fast::bfloat16, base_fast::bfloat16>();
  compare_all<float, base_fast::bfloat16>();
  return failures() != 0;
}
