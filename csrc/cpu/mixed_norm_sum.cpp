#define BF_DECLARATIONS "mixed_norm_sum.h"
#include "declare.h"
#include "operands.h"
#include "registration.h"

#include <cmath>
#include <limits>

namespace base_fast {
namespace {

constexpr int64_t kTile = 8192;
// Most channels of a tile, and its fewest pixels then: partial sums stay small beside the data.
constexpr int64_t kChannels = 256;
constexpr int64_t kPixels = 64;

// A walk over (B, C, H, W) tensors. Where all have their channels apart, a tile is of one channel; where they are
// neighbours in one of them, its columns are channels.
struct Walk {
  Tiles tiles;
  int channel_axis;

  int64_t first_channel(const Tile& tile) const { return tile.position[channel_axis]; }
  int64_t channels(const Tile& tile) const { return channel_axis == 0 ? 1 : tile.columns; }
};

bool has_channels_innermost(const Tensor& x) {
  for (int axis : {3, 2, 0}) {
    if (x.size(axis) != 1) return x.size(1) != 1 && x.stride(1) != 0 && x.stride(1) < x.stride(axis);
  }
  return false;
}

Walk walk_over(const std::vector<const Tensor*>& tensors) {
  bool innermost = false;
  for (const Tensor* x : tensors) innermost = innermost || has_channels_innermost(*x);
  Axes axes(static_cast<int>(tensors.size()));
  const auto append = [&](int axis) {
    axes.append(tensors[0]->size(axis), [&](int k) { return tensors[k]->stride(axis); });
  };
  if (innermost) {
    for (int axis : {0, 2, 3, 1}) append(axis);
    axes.join(0, 1, 1);
    const int last = axes.count() - 1;
    return {Tiles(std::move(axes), kChannels, kTile, kPixels), last};
  }
  for (int axis : {1, 0, 2, 3}) append(axis);
  axes.join(1, 0, 2);
  return {Tiles(std::move(axes), kTile, kTile), 0};
}

void check(const std::vector<Tensor>& branches, const std::vector<int64_t>& positions,
           const std::vector<bool>& normalized) {
  STD_TORCH_CHECK(!branches.empty() && branches.size() == positions.size() && branches.size() == normalized.size(),
                  "branches, positions, normalized: expected as many of each, and at least one");
  STD_TORCH_CHECK(branches[0].dim() == 4, "branches: expected (B, C, H, W)");
  for (const Tensor& x : branches) check_operand(x, branches[0], branches[0].scalar_type(), "branches");
}

ScalarType wide(ScalarType dtype) { return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float; }

// Values of (K, C) in double → the tensor that is returned.
Tensor rounded(const std::vector<double>& values, int64_t branches, int64_t channels, ScalarType dtype) {
  const Tensor result = empty({branches, channels}, dtype);
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    T* to = mutable_data<T>(result);
    for (size_t i = 0; i < values.size(); ++i) to[i] = host::from_float<T>(static_cast<host::compute_t<T>>(values[i]));
  });
  return result;
}

// Mean and rstd of every channel of one branch, which is walked in its own order.
template <class T>
void statistics(const Tensor& x, double eps, double* means, double* rstds) {
  const auto kernel = BF_KERNEL(norm_moments<T>);
  const Walk walk = walk_over({&x});
  const T* const from = data<T>(x);
  const int64_t channels = x.size(1), pixels = x.size(0) * x.size(2) * x.size(3);
  const int64_t width = walk.channel_axis == 0 ? 1 : std::min(channels, kChannels);
  std::vector<double> partial_means(walk.tiles.count() * width), partial_squares(walk.tiles.count() * width);
  std::vector<double> counts(walk.tiles.count());
  const auto new_room = [&] { return uninitialized<T>(walk.tiles.elements()); };
  parallel_tiles(walk.tiles, new_room, [&](const Tile& tile, std::unique_ptr<T[]>& room) {
    counts[tile.index] = static_cast<double>(tile.rows * tile.columns / walk.channels(tile));
    kernel(block(walk.tiles, tile, 0, from), tile.rows, tile.columns, walk.channels(tile),
           partial_means.data() + tile.index * width, partial_squares.data() + tile.index * width, room.get());
  });
  // Chan et al. 1983, for many parts at once.
  std::vector<double> squares(channels, 0.0);
  const auto each_partial = [&](const auto& f) {
    walk.tiles.each(0, walk.tiles.count(), [&](const Tile& tile) {
      const int64_t first = walk.first_channel(tile);
      for (int64_t c = 0; c < walk.channels(tile); ++c) f(first + c, counts[tile.index], tile.index * width + c);
    });
  };
  std::fill(means, means + channels, 0.0);
  each_partial([&](int64_t c, double count, int64_t at) { means[c] += count * partial_means[at]; });
  for (int64_t c = 0; c < channels; ++c) means[c] /= static_cast<double>(pixels);
  each_partial([&](int64_t c, double count, int64_t at) {
    const double apart = partial_means[at] - means[c];
    squares[c] += partial_squares[at] + count * apart * apart;
  });
  for (int64_t c = 0; c < channels; ++c) rstds[c] = 1.0 / std::sqrt(squares[c] / static_cast<double>(pixels) + eps);
}

std::tuple<Tensor, Tensor, Tensor> mixed_norm_sum(const std::vector<Tensor>& branches, const Tensor& weights,
                                                  const std::vector<int64_t>& positions,
                                                  const std::vector<bool>& normalized, double eps) {
  check(branches, positions, normalized);
  const ScalarType dtype = branches[0].scalar_type();
  const std::vector<double> w = weights_at(weights, positions);
  const int64_t channels = branches[0].size(1);
  const int count = static_cast<int>(branches.size());
  const Tensor y = empty_dense_like(branches[0], dtype);
  std::vector<double> means(count * channels, 0.0), rstds(count * channels, 1.0);
  std::vector<const Tensor*> tensors{&y};
  for (const Tensor& x : branches) tensors.push_back(&x);
  const Walk walk = walk_over(tensors);
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    using C = host::compute_t<T>;
    for (int k = 0; k < count; ++k) {
      if (normalized[k]) statistics<T>(branches[k], eps, means.data() + k * channels, rstds.data() + k * channels);
    }
    const auto kernel = BF_KERNEL(mixed_norm_sum<T, C>);
    const std::vector<const T*> from = data_of<T>(branches);
    T* const to = mutable_data<T>(y);
    struct Room {
      std::vector<Block<const T>> x;
      std::unique_ptr<T[]> packed;
      std::unique_ptr<C[]> sums;
    };
    const auto new_room = [&] {
      const int64_t tile = walk.tiles.elements();
      return Room{std::vector<Block<const T>>(count), uninitialized<T>(4 * tile), uninitialized<C>(tile)};
    };
    parallel_tiles(walk.tiles, new_room, [&](const Tile& tile, Room& room) {
      for (int k = 0; k < count; ++k) room.x[k] = block(walk.tiles, tile, k + 1, from[k]);
      const int64_t first = walk.first_channel(tile);
      kernel(room.x.data(), w.data(), count, means.data() + first, rstds.data() + first, channels,
             block(walk.tiles, tile, 0, to), tile.rows, tile.columns, walk.channels(tile), room.packed.get(),
             room.sums.get());
    });
  });
  return {y, rounded(means, count, channels, wide(dtype)), rounded(rstds, count, channels, wide(dtype))};
}

template <class T, class X>
std::vector<Tensor> backward(const Tensor& grad, const std::vector<Tensor>& branches, const Tensor& weights,
                             const std::vector<int64_t>& positions, const std::vector<bool>& normalized,
                             const Tensor& mean, const Tensor& rstd) {
  const std::vector<double> w = weights_at(weights, positions), means = values_of(mean), rstds = values_of(rstd);
  const int count = static_cast<int>(branches.size());
  const int64_t channels = grad.size(1);
  const auto pixels = static_cast<double>(grad.size(0) * grad.size(2) * grad.size(3));
  std::vector<Tensor> gradients = empty_dense_like(branches, grad.scalar_type());
  std::vector<const Tensor*> tensors{&grad};
  for (const Tensor& x : branches) tensors.push_back(&x);
  for (const Tensor& dx : gradients) tensors.push_back(&dx);
  const Walk walk = walk_over(tensors);
  const Tiles& tiles = walk.tiles;
  const T* const g = data<T>(grad);
  const std::vector<const X*> x = data_of<X>(branches);
  const std::vector<T*> dx = mutable_data_of<T>(gradients);
  struct Room {
    std::vector<Block<const X>> x;
    std::vector<Block<T>> dx;
    std::unique_ptr<T[]> packed_t;
    std::unique_ptr<X[]> packed_x;
  };
  const auto new_room = [&] {
    return Room{std::vector<Block<const X>>(count), std::vector<Block<T>>(count),
                uninitialized<T>(2 * tiles.elements()), uninitialized<X>(tiles.elements())};
  };

  const int64_t width = (count + 1) * (walk.channel_axis == 0 ? 1 : std::min(channels, kChannels));
  std::vector<double> partial(tiles.count() * width);
  const auto products = BF_KERNEL(norm_products<T, X>);
  parallel_tiles(tiles, new_room, [&](const Tile& tile, Room& room) {
    for (int k = 0; k < count; ++k) room.x[k] = block(tiles, tile, k + 1, x[k]);
    products(block(tiles, tile, 0, g), room.x.data(), count, means.data() + walk.first_channel(tile), channels,
             partial.data() + tile.index * width, tile.rows, tile.columns, walk.channels(tile), room.packed_t.get(),
             room.packed_x.get());
  });
  // Row 0: of g, row k + 1: of g·(x_k − mean_k).
  std::vector<double> averages((count + 1) * channels, 0.0);
  tiles.each(0, tiles.count(), [&](const Tile& tile) {
    const int64_t tile_channels = walk.channels(tile);
    const double* from = partial.data() + tile.index * width;
    for (int k = 0; k <= count; ++k) {
      double* to = averages.data() + k * channels + walk.first_channel(tile);
      for (int64_t c = 0; c < tile_channels; ++c) to[c] += from[k * tile_channels + c];
    }
  });
  std::vector<double> d_weights(count, 0.0);
  for (int k = 0; k < count; ++k) {
    for (int64_t c = 0; c < channels; ++c) d_weights[k] += averages[(k + 1) * channels + c] * rstds[k * channels + c];
  }
  for (double& average : averages) average /= pixels;

  const std::unique_ptr<bool[]> norms(new bool[count]);
  std::copy(normalized.begin(), normalized.end(), norms.get());
  const bool streamed = is_streamed(count, grad.numel() * sizeof(T));
  const auto d_branches = BF_KERNEL(norm_d_branches<T, X>);
  parallel_tiles(tiles, new_room, [&](const Tile& tile, Room& room) {
    for (int k = 0; k < count; ++k) {
      room.x[k] = block(tiles, tile, k + 1, x[k]);
      room.dx[k] = block(tiles, tile, k + 1 + count, dx[k]);
    }
    const int64_t first = walk.first_channel(tile);
    d_branches(block(tiles, tile, 0, g), room.x.data(), w.data(), norms.get(), count, means.data() + first,
               rstds.data() + first, averages.data() + first, averages.data() + channels + first, channels,
               room.dx.data(), tile.rows, tile.columns, walk.channels(tile), streamed, room.packed_t.get(),
               room.packed_x.get());
  });
  gradients.push_back(scattered(d_weights, positions, weights));
  return gradients;
}

std::vector<Tensor> mixed_norm_sum_backward(const Tensor& grad, const std::vector<Tensor>& branches,
                                            const Tensor& weights, const std::vector<int64_t>& positions,
                                            const std::vector<bool>& normalized, const Tensor& mean,
                                            const Tensor& rstd) {
  check(branches, positions, normalized);
  check_operand(grad, branches[0], grad.scalar_type(), "grad");
  const int64_t values = static_cast<int64_t>(branches.size()) * grad.size(1);
  STD_TORCH_CHECK(mean.numel() == values && rstd.numel() == values, "mean, rstd: expected (K, C)");
  const ScalarType stored = branches[0].scalar_type();
  if (grad.numel() == 0) {
    std::vector<Tensor> nothing = empty_dense_like(branches, grad.scalar_type());
    nothing.push_back(torch::stable::new_zeros(weights, weights.sizes()));
    return nothing;
  }
  return with_type(grad.scalar_type(), [&](auto type) {
    using T = decltype(type);
    if (stored == grad.scalar_type()) {
      return backward<T, T>(grad, branches, weights, positions, normalized, mean, rstd);
    }
    STD_TORCH_CHECK(stored == ScalarType::BFloat16 && grad.scalar_type() == ScalarType::Float,
                    "branches: expected grad's dtype, or bfloat16 beside float32");
    return backward<float, bfloat16>(grad, branches, weights, positions, normalized, mean, rstd);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, mixed_norm_sum);
  BF_REGISTER(library, mixed_norm_sum_backward);
}

}  // namespace base_fast
