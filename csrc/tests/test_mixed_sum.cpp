// Weighted sums of branches that lie in memory in any mix of ways, against plain loops in double.
#include "../cpu/elementwise/mixed_sum.h"

#include <memory>

#include "check.h"
#include "isa_or_skip.h"
#include "layouts.h"

using namespace base_fast;
using namespace layouts;
using vectors::Vector;

namespace {

template <class T>
using Compute = std::conditional_t<sizeof(T) == 8, double, float>;

template <class T>
struct Case {
  Sizes sizes;
  Layout result;
  std::vector<Tensor<T>> branches;
  std::vector<double> weights;
  Tensor<T> grad;

  Case(const Sizes& n, int count, Layout result, int first_layout, Layout grad)
      : sizes(n), result(result), grad(grad, n, 1.0, 0.1) {
    for (int k = 0; k < count; ++k) {
      branches.emplace_back(kLayouts[(first_layout + k) % 6], n, 1.0 + k, 0.25 * k);
      weights.push_back(k % 2 == 0 ? 0.5 : -0.125 * k);
    }
  }
  std::array<int, 4> order() const {
    return result == Layout::channels_last ? std::array<int, 4>{0, 2, 3, 1} : std::array<int, 4>{0, 1, 2, 3};
  }
};

template <class T>
Tensor<T> forward(const Case<T>& s, int64_t elements, bool backwards) {
  const int count = static_cast<int>(s.branches.size());
  Tensor<T> y(s.result, s.sizes);
  std::vector<Sizes> strides{y.strides};
  for (const auto& x : s.branches) strides.push_back(x.strides);
  Axes axes = axes_of(s.sizes, strides, s.order());
  axes.join(0, 0, 2);
  const Tiles tiles(axes, elements, elements);
  Vector<T> scratch(static_cast<size_t>(kSumAtOnce * tiles.elements()));
  Vector<Compute<T>> sums(static_cast<size_t>(tiles.elements()));
  each_tile(tiles, backwards, [&](const Tile& tile) {
    std::vector<Block<const T>> x;
    for (int k = 0; k < count; ++k) x.push_back(block(tiles, tile, k + 1, s.branches[k].storage.data()));
    BF_KERNEL(mixed_sum<T, Compute<T>>)(x.data(), s.weights.data(), count, y.storage.data() + tile.offset[0], tile.rows,
                                        tile.columns, scratch.data(), sums.data());
  });
  return y;
}

template <class T>
struct Gradients {
  std::vector<Tensor<T>> dx;
  std::vector<double> products;  // of every tile
};

template <class T>
Gradients<T> backward(const Case<T>& s, int64_t elements, bool backwards, bool streamed) {
  const int count = static_cast<int>(s.branches.size());
  Gradients<T> result;
  std::vector<Sizes> strides{s.grad.strides};
  for (const auto& x : s.branches) strides.push_back(x.strides);
  for (int k = 0; k < count; ++k) {
    result.dx.emplace_back(k == 0 ? s.result : kDense[k % 2], s.sizes);
    strides.push_back(result.dx.back().strides);
  }
  Axes axes = axes_of(s.sizes, strides, s.order());
  axes.join(0, 0, 2);
  const Tiles tiles(axes, elements, elements);
  result.products.resize(static_cast<size_t>(tiles.count() * count));
  Vector<T> scratch(static_cast<size_t>(3 * tiles.elements()));
  Vector<Compute<T>> sums(static_cast<size_t>(count * kProductLanes));
  each_tile(tiles, backwards, [&](const Tile& tile) {
    std::vector<Block<const T>> x;
    std::vector<Block<T>> dx;
    for (int k = 0; k < count; ++k) {
      x.push_back(block(tiles, tile, k + 1, s.branches[k].storage.data()));
      dx.push_back(block(tiles, tile, k + 1 + count, result.dx[k].storage.data()));
    }
    BF_KERNEL(mixed_sum_backward<T, Compute<T>>)
    (block(tiles, tile, 0, s.grad.storage.data()), x.data(), s.weights.data(), count, dx.data(),
     result.products.data() + tile.index * count, tile.rows, tile.columns, streamed, scratch.data(), sums.data());
  });
  return result;
}

template <class T>
void test(const Case<T>& s, int64_t elements) {
  const double tolerance = sizeof(T) == 8 ? 1e-13 : vectors::kTolerance<T>;
  const size_t count = s.branches.size();

  const Tensor<T> y = forward(s, elements, false);
  double largest = 0.0;
  each_element(s.sizes, [&](int64_t b, int64_t c, int64_t h, int64_t w) {
    double sum = 0.0, magnitude = 1.0;
    for (size_t k = 0; k < count; ++k) {
      sum += s.weights[k] * s.branches[k].value(b, c, h, w);
      magnitude += std::fabs(s.weights[k] * s.branches[k].value(b, c, h, w));
    }
    largest = std::fmax(largest, std::fabs(y.value(b, c, h, w) - sum) / magnitude);
    if (std::isnan(y.value(b, c, h, w))) largest = INFINITY;
  });
  CHECK(largest < tolerance);
  CHECK(vectors::equal_bits(y.storage, forward(s, elements, true).storage));

  const Gradients<T> gradients = backward(s, elements, false, false);
  for (size_t k = 0; k < count; ++k) {
    double product = 0.0, magnitude = 1.0, sum = 0.0;
    largest = 0.0;
    each_element(s.sizes, [&](int64_t b, int64_t c, int64_t h, int64_t w) {
      const double g = s.grad.value(b, c, h, w), x = s.branches[k].value(b, c, h, w);
      product += g * x;
      magnitude += std::fabs(g * x);
      const double difference = std::fabs(gradients.dx[k].value(b, c, h, w) - s.weights[k] * g);
      largest = std::fmax(largest, std::isnan(difference) ? INFINITY : difference);
    });
    for (size_t i = k; i < gradients.products.size(); i += count) sum += gradients.products[i];
    CHECK(largest < 8.0 * tolerance);
    CHECK(std::fabs(sum - product) / magnitude < (sizeof(T) == 8 ? 1e-13 : 1e-6));
  }
  for (const bool streamed : {false, true}) {
    const Gradients<T> again = backward(s, elements, true, streamed);
    CHECK(again.products == gradients.products);
    for (size_t k = 0; k < count; ++k) CHECK(vectors::equal_bits(again.dx[k].storage, gradients.dx[k].storage));
  }
}

template <class T>
void test_all() {
  for (const Sizes& n : {Sizes{2, 3, 5, 7}, Sizes{1, 1, 1, 1}, Sizes{3, 16, 8, 9}, Sizes{2, 65, 3, 3},
                         Sizes{1, 2, 33, 34}, Sizes{0, 3, 2, 2}}) {
    for (const int count : {1, 3, 8, 9, 18}) {
      for (const Layout result : kDense) {
        for (int first = 0; first < 6; ++first) {
          test(Case<T>(n, count, result, first, kLayouts[(first + count) % 6]), first % 2 == 0 ? 4096 : 100);
        }
      }
    }
  }
}

}  // namespace

int main() {
  BF_ISA_OR_SKIP();
  test_all<float>();
  test_all<double>();
  test_all<bfloat16>();
  return failures() != 0;
}
