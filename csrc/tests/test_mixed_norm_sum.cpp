// Moments, sums and gradients of normalized branches that lie in memory in any mix of ways, against loops in double.
#define BF_DECLARATIONS "mixed_norm_sum.h"
#include "../cpu/declare.h"

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

// As in mixed_norm_sum.cpp: channels outermost, one to a tile, or innermost, one to a column.
struct Walk {
  Tiles tiles;
  int channel_axis;

  Walk(const Sizes& n, const std::vector<Sizes>& strides, bool innermost, int64_t elements)
      : tiles(cut(n, strides, innermost, elements)), channel_axis(innermost ? tiles.axes().count() - 1 : 0) {}
  int64_t first(const Tile& tile) const { return tile.position[channel_axis]; }
  int64_t channels(const Tile& tile) const { return channel_axis == 0 ? 1 : tile.columns; }

 private:
  static Tiles cut(const Sizes& n, const std::vector<Sizes>& strides, bool innermost, int64_t elements) {
    Axes axes = axes_of(n, strides, innermost ? std::array<int, 4>{0, 2, 3, 1} : std::array<int, 4>{1, 0, 2, 3});
    if (innermost) {
      axes.join(0, 1, 1);
      return Tiles(axes, 256, elements, 4);
    }
    axes.join(1, 0, 2);
    return Tiles(axes, elements, elements);
  }
};

template <class T, class X>
struct Case {
  Sizes sizes;
  std::vector<Tensor<X>> branches;
  std::vector<double> weights;
  std::unique_ptr<bool[]> normalized;
  Tensor<T> grad;
  bool innermost;
  int64_t elements;
  // (K, C), what the kernels get.
  std::vector<double> means, rstds;

  Case(const Sizes& n, int count, int first_layout, double shift, bool innermost, int64_t elements)
      : sizes(n), normalized(new bool[static_cast<size_t>(count)]), grad(kLayouts[(first_layout + 1) % 6], n, 1.0, 0.1),
        innermost(innermost), elements(elements) {
    for (int k = 0; k < count; ++k) {
      branches.emplace_back(kLayouts[(first_layout + k) % 6], n, 1.0 + k, shift);
      weights.push_back(k % 2 == 0 ? 0.5 : -0.125 * k);
      normalized[static_cast<size_t>(k)] = k % 3 != 2;
    }
  }
  int count() const { return static_cast<int>(branches.size()); }
  int64_t channels() const { return sizes[1]; }
  double pixels() const { return static_cast<double>(sizes[0] * sizes[2] * sizes[3]); }
};

bool near(double x, double y, double tolerance) { return std::fabs(x - y) <= tolerance * std::fmax(1.0, std::fabs(y)); }

// Σ over the pixels of channel c.
template <class F>
double sum_of(const Sizes& n, int64_t c, const F& f) {
  double sum = 0.0;
  each_element({n[0], 1, n[2], n[3]}, [&](int64_t b, int64_t, int64_t h, int64_t w) { sum += f(b, c, h, w); });
  return sum;
}

// Sets means and rstds from the kernel's moments, and compares the moments.
template <class T, class X>
void test_moments(Case<T, X>& s) {
  s.means.assign(static_cast<size_t>(s.count() * s.channels()), 0.0);
  s.rstds.assign(s.means.size(), 1.0);
  for (int k = 0; k < s.count(); ++k) {
    const Tensor<X>& x = s.branches[static_cast<size_t>(k)];
    const Walk walk(s.sizes, {x.strides}, s.innermost, s.elements);
    Vector<X> room(static_cast<size_t>(walk.tiles.elements()));
    std::vector<double> n(s.channels()), mean(s.channels()), square(s.channels());
    each_tile(walk.tiles, false, [&](const Tile& tile) {
      double means[256], squares[256];
      BF_KERNEL(norm_moments<X>)(block(walk.tiles, tile, 0, x.storage.data()), tile.rows, tile.columns,
                                 walk.channels(tile), means, squares, room.data());
      for (int64_t i = 0; i < walk.channels(tile); ++i) {
        const size_t c = static_cast<size_t>(walk.first(tile) + i);
        const double more = static_cast<double>(tile.rows * tile.columns / walk.channels(tile)), all = n[c] + more;
        const double apart = means[i] - mean[c];
        square[c] += squares[i] + apart * apart * n[c] * more / all;
        mean[c] += apart * more / all;
        n[c] = all;
      }
    });
    for (int64_t c = 0; c < s.channels(); ++c) {
      const auto value = [&](int64_t b, int64_t channel, int64_t h, int64_t w) { return x.value(b, channel, h, w); };
      const double expected = sum_of(s.sizes, c, value) / s.pixels();
      const double variance = sum_of(s.sizes, c, [&](int64_t b, int64_t channel, int64_t h, int64_t w) {
        return (value(b, channel, h, w) - expected) * (value(b, channel, h, w) - expected);
      }) / s.pixels();
      const size_t at = static_cast<size_t>(k * s.channels() + c);
      CHECK(n[static_cast<size_t>(c)] == s.pixels());
      CHECK(near(mean[static_cast<size_t>(c)], expected, sizeof(X) == 8 ? 1e-13 : 1e-6));
      CHECK(near(square[static_cast<size_t>(c)] / s.pixels(), variance, sizeof(X) == 8 ? 1e-12 : 1e-5));
      if (!s.normalized[static_cast<size_t>(k)]) continue;
      s.means[at] = expected;
      s.rstds[at] = 1.0 / std::sqrt(variance + 1e-3);
    }
  }
}

template <class T>
Tensor<T> forward(const Case<T, T>& s, Layout result, bool backwards) {
  Tensor<T> y(result, s.sizes);
  std::vector<Sizes> strides{y.strides};
  for (const auto& x : s.branches) strides.push_back(x.strides);
  const Walk walk(s.sizes, strides, s.innermost, s.elements);
  Vector<T> room(static_cast<size_t>(4 * walk.tiles.elements()));
  Vector<Compute<T>> sums(static_cast<size_t>(walk.tiles.elements()));
  each_tile(walk.tiles, backwards, [&](const Tile& tile) {
    std::vector<Block<const T>> x;
    for (int k = 0; k < s.count(); ++k) x.push_back(block(walk.tiles, tile, k + 1, s.branches[k].storage.data()));
    BF_KERNEL(mixed_norm_sum<T, Compute<T>>)(x.data(), s.weights.data(), s.count(), s.means.data() + walk.first(tile),
                                             s.rstds.data() + walk.first(tile), s.channels(),
                                             block(walk.tiles, tile, 0, y.storage.data()), tile.rows, tile.columns,
                                             walk.channels(tile), room.data(), sums.data());
  });
  return y;
}

template <class T>
void test_forward(const Case<T, T>& s, Layout result) {
  const Tensor<T> y = forward(s, result, false);
  double largest = 0.0;
  each_element(s.sizes, [&](int64_t b, int64_t c, int64_t h, int64_t w) {
    double sum = 0.0, magnitude = 1.0;
    for (int k = 0; k < s.count(); ++k) {
      const size_t at = static_cast<size_t>(k * s.channels() + c);
      const double term = s.weights[k] * (s.branches[k].value(b, c, h, w) - s.means[at]) * s.rstds[at];
      sum += term;
      magnitude += std::fabs(term);
    }
    const double difference = std::fabs(y.value(b, c, h, w) - sum) / magnitude;
    largest = std::fmax(largest, std::isnan(difference) ? INFINITY : difference);
  });
  CHECK(largest < (sizeof(T) == 8 ? 1e-11 : vectors::kTolerance<T>));
  CHECK(vectors::equal_bits(y.storage, forward(s, result, true).storage));
}

template <class T, class X>
struct Gradients {
  std::vector<double> partial;   // of every tile
  std::vector<double> averages;  // (K + 1, C): of g, of g·(x_k − mean_k)
  std::vector<Tensor<T>> dx;
};

template <class T, class X>
Gradients<T, X> backward(const Case<T, X>& s, bool backwards, bool streamed) {
  const int count = s.count();
  Gradients<T, X> result;
  std::vector<Sizes> strides{s.grad.strides};
  for (const auto& x : s.branches) strides.push_back(x.strides);
  for (int k = 0; k < count; ++k) {
    result.dx.emplace_back(kDense[k % 2], s.sizes);
    strides.push_back(result.dx.back().strides);
  }
  const Walk walk(s.sizes, strides, s.innermost, s.elements);
  const Tiles& tiles = walk.tiles;
  Vector<T> room_t(static_cast<size_t>(2 * tiles.elements()));
  Vector<X> room_x(static_cast<size_t>(tiles.elements()));
  const auto branches_at = [&](const Tile& tile) {
    std::vector<Block<const X>> x;
    for (int k = 0; k < count; ++k) x.push_back(block(tiles, tile, k + 1, s.branches[k].storage.data()));
    return x;
  };
  const int64_t width = (count + 1) * 256;
  result.partial.assign(static_cast<size_t>(tiles.count() * width), 0.0);
  result.averages.assign(static_cast<size_t>((count + 1) * s.channels()), 0.0);
  each_tile(tiles, backwards, [&](const Tile& tile) {
    BF_KERNEL(norm_products<T, X>)(block(tiles, tile, 0, s.grad.storage.data()), branches_at(tile).data(), count,
                                   s.means.data() + walk.first(tile), s.channels(),
                                   result.partial.data() + tile.index * width, tile.rows, tile.columns,
                                   walk.channels(tile), room_t.data(), room_x.data());
  });
  each_tile(tiles, false, [&](const Tile& tile) {
    for (int k = 0; k <= count; ++k) {
      for (int64_t c = 0; c < walk.channels(tile); ++c) {
        result.averages[static_cast<size_t>(k * s.channels() + walk.first(tile) + c)] +=
            result.partial[static_cast<size_t>(tile.index * width + k * walk.channels(tile) + c)] / s.pixels();
      }
    }
  });
  each_tile(tiles, backwards, [&](const Tile& tile) {
    std::vector<Block<T>> dx;
    for (int k = 0; k < count; ++k) dx.push_back(block(tiles, tile, k + 1 + count, result.dx[k].storage.data()));
    BF_KERNEL(norm_d_branches<T, X>)(
        block(tiles, tile, 0, s.grad.storage.data()), branches_at(tile).data(), s.weights.data(), s.normalized.get(),
        count, s.means.data() + walk.first(tile), s.rstds.data() + walk.first(tile),
        result.averages.data() + walk.first(tile), result.averages.data() + s.channels() + walk.first(tile),
        s.channels(), dx.data(), tile.rows, tile.columns, walk.channels(tile), streamed, room_t.data(), room_x.data());
  });
  return result;
}

template <class T, class X>
void test_backward(const Case<T, X>& s) {
  const Gradients<T, X> gradients = backward(s, false, false);
  for (int k = 0; k < s.count(); ++k) {
    for (int64_t c = 0; c < s.channels(); ++c) {
      const size_t at = static_cast<size_t>(k * s.channels() + c);
      const auto centred = [&](int64_t b, int64_t channel, int64_t h, int64_t w) {
        return s.branches[k].value(b, channel, h, w) - s.means[at];
      };
      const double g = sum_of(s.sizes, c, [&](int64_t b, int64_t channel, int64_t h, int64_t w) {
        return s.grad.value(b, channel, h, w);
      }) / s.pixels();
      const double gx = sum_of(s.sizes, c, [&](int64_t b, int64_t channel, int64_t h, int64_t w) {
        return s.grad.value(b, channel, h, w) * centred(b, channel, h, w);
      }) / s.pixels();
      const double size = std::fmax(1.0, std::fabs(s.branches[k].value(0, c, 0, 0)));
      const double tolerance = sizeof(T) == 8 ? 1e-12 : 4e-6 * size;
      CHECK(near(gradients.averages[static_cast<size_t>(c)], g, tolerance));
      CHECK(near(gradients.averages[at + static_cast<size_t>(s.channels())], gx, tolerance));
      const double rstd = s.rstds[at], weight = s.weights[k];
      double largest = 0.0;
      each_element({s.sizes[0], 1, s.sizes[2], s.sizes[3]}, [&](int64_t b, int64_t, int64_t h, int64_t w) {
        const double grad = s.grad.value(b, c, h, w);
        const double expected = s.normalized[k] ? weight * rstd * (grad - g - centred(b, c, h, w) * rstd * rstd * gx)
                                                : weight * grad;
        const double scale = std::fmax(1.0, std::fabs(weight * rstd) * (1.0 + rstd * rstd * std::fabs(gx)));
        const double difference = std::fabs(gradients.dx[k].value(b, c, h, w) - expected) / scale;
        largest = std::fmax(largest, std::isnan(difference) ? INFINITY : difference);
      });
      CHECK(largest < (sizeof(T) == 8 ? 1e-11 : sizeof(T) == 2 ? 2e-2 : 4.0 * tolerance));
    }
  }
  for (const bool streamed : {false, true}) {
    const Gradients<T, X> again = backward(s, true, streamed);
    CHECK(again.partial == gradients.partial);
    for (int k = 0; k < s.count(); ++k) CHECK(vectors::equal_bits(again.dx[k].storage, gradients.dx[k].storage));
  }
}

template <class T, class X>
void test_all() {
  int turn = 0;
  for (const Sizes& n :
       {Sizes{2, 3, 5, 7}, Sizes{2, 1, 1, 1}, Sizes{5, 16, 4, 9}, Sizes{3, 300, 2, 3}, Sizes{2, 2, 33, 34}}) {
    for (const int count : {1, 4, 6}) {
      for (const bool innermost : {false, true}) {
        for (const double shift : {0.25, 1000.0}) {
          if (sizeof(X) == 2 && shift > 1.0) continue;  // whose values bfloat16 cannot tell apart
          ++turn;
          Case<T, X> s(n, count, turn % 6, shift, innermost, turn % 2 == 0 ? 8192 : 100);
          test_moments(s);
          if constexpr (std::is_same_v<T, X>) test_forward(s, kDense[turn % 2]);
          test_backward(s);
        }
      }
    }
  }
}

}  // namespace

int main() {
  BF_ISA_OR_SKIP();
  test_all<float, float>();
  test_all<double, double>();
  test_all<bfloat16, bfloat16>();
  test_all<float, bfloat16>();
  return failures() != 0;
}
