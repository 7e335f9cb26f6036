#include "../elementwise/mixed_sum.h"
#include "operands.h"
#include "registration.h"
#include "threads.h"

namespace base_fast {
namespace {

constexpr int64_t kTile = 4096;

void check(const std::vector<Tensor>& branches, const std::vector<int64_t>& positions) {
  STD_TORCH_CHECK(!branches.empty() && branches.size() == positions.size(),
                  "branches, positions: expected as many of each, and at least one");
  for (const Tensor& x : branches) check_operand(x, branches[0], branches[0].scalar_type(), "branches");
}

// In the order in which the first tensor lies in memory, which is a dense one.
Tiles tiles_over(const std::vector<const Tensor*>& tensors) {
  const Tensor& first = *tensors[0];
  const int count = static_cast<int>(first.dim());
  const bool channels_last = is_channels_last(first);
  Axes axes(static_cast<int>(tensors.size()));
  for (int i = 0; i < count; ++i) {
    const int order[] = {0, 2, 3, 1};
    const int axis = channels_last ? order[i] : i;
    axes.append(first.size(axis), [&](int k) { return tensors[k]->stride(axis); });
  }
  axes.join(0, 0, 2);
  return Tiles(std::move(axes), kTile, kTile);
}

Tensor mixed_sum(const std::vector<Tensor>& branches, const Tensor& weights, const std::vector<int64_t>& positions) {
  check(branches, positions);
  const std::vector<double> w = weights_at(weights, positions);
  const Tensor y = empty_dense_like(branches[0], branches[0].scalar_type());
  std::vector<const Tensor*> tensors{&y};
  for (const Tensor& x : branches) tensors.push_back(&x);
  const Tiles tiles = tiles_over(tensors);
  const int count = static_cast<int>(branches.size());
  with_type(y.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using C = compute_t<T>;
    const auto kernel = BF_KERNEL(mixed_sum<T, C>);
    const std::vector<const T*> from = data_of<T>(branches);
    T* const to = mutable_data<T>(y);
    struct TileScratch {
      std::vector<Block<const T>> blocks;
      std::unique_ptr<T[]> packed;
      std::unique_ptr<C[]> sums;
    };
    const auto new_scratch = [&] {
      return TileScratch{std::vector<Block<const T>>(count), uninitialized<T>(kSumAtOnce * tiles.elements()),
                         uninitialized<C>(tiles.elements())};
    };
    parallel_tiles(tiles, new_scratch, [&](const Tile& tile, TileScratch& scratch) {
      for (int k = 0; k < count; ++k) scratch.blocks[k] = block(tiles, tile, k + 1, from[k]);
      kernel(scratch.blocks.data(), w.data(), count, to + tile.offset[0], tile.rows, tile.columns, scratch.packed.get(),
             scratch.sums.get());
    });
  });
  return y;
}

std::vector<Tensor> mixed_sum_backward(const Tensor& grad, const std::vector<Tensor>& branches, const Tensor& weights,
                                       const std::vector<int64_t>& positions) {
  check(branches, positions);
  check_operand(grad, branches[0], branches[0].scalar_type(), "grad");
  const std::vector<double> w = weights_at(weights, positions);
  std::vector<Tensor> gradients = empty_dense_like(branches, grad.scalar_type());
  std::vector<const Tensor*> tensors{&gradients[0], &grad};
  for (const Tensor& x : branches) tensors.push_back(&x);
  for (size_t k = 1; k < gradients.size(); ++k) tensors.push_back(&gradients[k]);
  const Tiles tiles = tiles_over(tensors);
  const int count = static_cast<int>(branches.size());
  std::vector<double> products(tiles.count() * count);
  with_type(grad.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using C = compute_t<T>;
    const auto kernel = BF_KERNEL(mixed_sum_backward<T, C>);
    const bool streamed = is_streamed(count, grad.numel() * sizeof(T));
    const T* const g = data<T>(grad);
    const std::vector<const T*> x = data_of<T>(branches);
    const std::vector<T*> dx = mutable_data_of<T>(gradients);
    struct TileScratch {
      std::vector<Block<const T>> x;
      std::vector<Block<T>> dx;
      std::unique_ptr<T[]> packed;
      std::unique_ptr<C[]> sums;
    };
    const auto new_scratch = [&] {
      return TileScratch{std::vector<Block<const T>>(count), std::vector<Block<T>>(count),
                         uninitialized<T>(3 * tiles.elements()), uninitialized<C>(count * kProductLanes)};
    };
    parallel_tiles(tiles, new_scratch, [&](const Tile& tile, TileScratch& scratch) {
      for (int k = 0; k < count; ++k) {
        scratch.x[k] = block(tiles, tile, k + 2, x[k]);
        scratch.dx[k] = block(tiles, tile, k == 0 ? 0 : count + 1 + k, dx[k]);
      }
      kernel(block(tiles, tile, 1, g), scratch.x.data(), w.data(), count, scratch.dx.data(),
             products.data() + tile.index * count, tile.rows, tile.columns, streamed, scratch.packed.get(),
             scratch.sums.get());
    });
  });
  std::vector<double> totals(count, 0.0);
  for (size_t i = 0; i < products.size(); ++i) totals[i % count] += products[i];
  gradients.push_back(scattered(totals, positions, weights));
  return gradients;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, mixed_sum);
  BF_REGISTER(library, mixed_sum_backward);
}

}  // namespace base_fast
