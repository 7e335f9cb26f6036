// Mixed edges that read the same x, as their passes need them: primitives resolved into stages, weights packed by
// blocks of channels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../blocked/moments_merge.h"
#include "../memory/buffer.h"
#include "../memory/groups.h"
#include "plan.h"
#include "primitives.h"

namespace base_fast {

struct EdgeShape {
  int64_t images, channels, height, width;
  int stride;
};

// The pass that an edge's weights are packed for.
enum class Direction { forward, backward };

// One of the edges: the numbers of its primitives, their weights in y, and their own weights.
template <class T>
struct Edge {
  std::vector<int64_t> primitives;
  const T* z;
  std::vector<const T*> weights;
};

template <class T>
class EdgeGroup {
 public:
  // `recompute`: backward computes all values again.
  EdgeGroup(const EdgeShape& shape, const std::vector<Edge<T>>& edges, bool recompute) : outputs_(edges.size()) {
    plan.images = shape.images;
    plan.channels = shape.channels;
    plan.blocks = (shape.channels + kBlock - 1) / kBlock;
    plan.height = shape.height;
    plan.width = shape.width;
    plan.stride = shape.stride;
    plan.out_height = (shape.height + shape.stride - 1) / shape.stride;
    plan.out_width = (shape.width + shape.stride - 1) / shape.stride;
    plan.x_pixel = plan.dx_pixel = plan.dx_addend_pixel = shape.channels;
    plan.outputs = outputs_.data();
    plan.count = int(edges.size());
    for (EdgeOutput<T>& output : outputs_) output.y_pixel = output.grad_pixel = output.y_addend_pixel = shape.channels;
    resolve(edges, recompute);
    plan.stages = stages_.data();
    for (const Stage<T>& stage : stages_) kept_ += stage.kept;
    plan.recompute = kept_ < stages();
    place_weights();
    plan.groups = groups_of(plan.images, plan.weights / plan.count);
    packed_ = Buffer<T>(2 * plan.weights);
    norms_ = Buffer<T>::zeros(place_norms(nullptr));
    place_norms(norms_.get());
    sums_ = Buffer<double>(plan.groups * plan.rows() * 2 * plan.padded_channels());
    plan.sums = sums_.get();
  }
  EdgeGroup(const EdgeGroup&) = delete;

  // Elements of the stages' values before their norms, and doubles of all norms' statistics.
  int64_t image() const { return plan.padded_channels() * plan.out_pixels(); }
  int64_t kept_values() const { return kept_ * plan.images * image(); }
  int64_t other_values() const { return (stages() - kept_) * plan.images * image(); }
  int64_t statistics() const { return plan.norms() * 2 * plan.padded_channels(); }

  // Memory for them: for what is kept from forward to backward, and for what need not be.
  void use_values(void* kept, void* others, Storage storage) {
    plan.value_storage = storage;
    const int64_t bytes = plan.images * image() * int64_t(storage == Storage::own ? sizeof(T) : sizeof(bfloat16));
    char *next_kept = static_cast<char*>(kept), *next_other = static_cast<char*>(others);
    for (Stage<T>& stage : stages_) {
      char*& next = stage.kept ? next_kept : next_other;
      stage.v = next;
      next += bytes;
    }
  }
  // Memory for the gradients of what the first stages give: `second` times images()·image() elements.
  void use_first_stage_gradients(T* memory) {
    for (int s = plan.first; s < plan.first + plan.second; ++s, memory += plan.images * image())
      stages_[stages_[s].input].gradient = memory;
  }

  // From the groups' moments to the norm's mean and variance; statistics as [norm][mean, variance][channel], zeros for
  // pools that are not there.
  void merge_moments(int n, double* statistics) const {
    const int64_t p = plan.padded_channels();
    if (!exists(n)) {
      std::memset(statistics + n * 2 * p, 0, size_t(2 * p) * sizeof(double));
      return;
    }
    double *mean = statistics + n * 2 * p, *square = mean + p;
    const int row = n < plan.max_row() ? n : n < plan.avg_row() ? plan.max_row() : plan.avg_row();
    int64_t before = 0;
    for (int64_t g = 0; g < plan.groups; ++g) {
      const int64_t images = plan.begin(g + 1) - plan.begin(g);
      const MomentsMerge merge{double(before), double(images)};
      const double* more = plan.sums_of(g, row);
      for (int64_t c = 0; c < p; ++c) {
        if (g == 0) {
          mean[c] = more[c], square[c] = more[p + c];
          continue;
        }
        square[c] = square[c] + more[p + c] + merge.between(mean[c], more[c]) * double(plan.out_pixels());
        mean[c] = merge.mean(mean[c], more[c]);
      }
      before += images;
    }
    for (int64_t c = 0; c < p; ++c) square[c] /= double(plan.images * plan.out_pixels());
  }

  // The forward half of a norm, and its part in y.
  void set_norm(int n, const double* statistics) {
    const Norm<T>& to = norm(n);
    T* constant = const_cast<T*>(outputs_[size_t(output_of(n))].constant);
    for (int64_t c = 0; c < plan.padded_channels(); ++c) {
      const double mean = statistics[n * 2 * plan.padded_channels() + c];
      const double rstd = 1.0 / std::sqrt(statistics[(n * 2 + 1) * plan.padded_channels() + c] + kBatchNormEpsilon);
      to.mean[c] = T(mean);
      to.rstd[c] = T(rstd);
      to.offset[c] = T((double(to.mean[c]) - mean) * rstd);
      to.gain[c] = T(weight_[n] * rstd);
      if (is_term(n)) constant[c] += T(weight_[n] * double(to.offset[c]));
    }
  }

  // The backward half, from the groups' sums. Returns Σ g·v̂, the gradient of the norm's weight in y.
  double set_norm_backward(int n, const double* statistics) {
    const Norm<T>& to = norm(n);
    const int64_t p = plan.padded_channels();
    const double count = double(plan.images * plan.out_pixels());
    std::vector<double>& sums = totals_;
    sums.assign(size_t(2 * p), 0.0);
    for (int64_t g = 0; g < plan.groups; ++g) {
      const double* more = plan.sums_of(g, n);
      for (int64_t c = 0; c < 2 * p; ++c) sums[size_t(c)] += more[c];
    }
    double total = 0.0;
    for (int64_t c = 0; c < p; ++c) {
      const double sum = sums[size_t(c)], rstd = 1.0 / std::sqrt(statistics[(n * 2 + 1) * p + c] + kBatchNormEpsilon);
      double product = sums[size_t(p + c)];
      if (is_term(n)) product = rstd * product + double(to.offset[c]) * sum;
      if (c < plan.channels) total += product;
      const double gain = weight_[size_t(n)] * rstd;
      to.gain[c] = T(gain);
      to.slope[c] = T(-gain * rstd * product / count);
      to.intercept[c] = T(-gain * (sum + double(to.offset[c]) * product) / count);
    }
    return total;
  }

  // For backward, where no pass does it.
  void clear_sums() {
    std::memset(plan.sums, 0, size_t(plan.groups * plan.rows() * 2 * plan.padded_channels()) * sizeof(double));
  }

  // What the pools' norms give back, all edges together, once every one is set.
  void join_pools() {
    for (const EdgeOutput<T>& output : outputs_) {
      for (int64_t c = 0; c < plan.padded_channels(); ++c) {
        plan.max_norm.slope[c] += output.max_norm.slope[c], plan.max_norm.intercept[c] += output.max_norm.intercept[c];
        plan.avg_norm.slope[c] += output.avg_norm.slope[c], plan.avg_norm.intercept[c] += output.avg_norm.intercept[c];
      }
    }
  }

  // Whether norm n's values are summed by y: not the first halves of separable convolutions, nor pools that are not
  // there.
  bool is_term(int n) const {
    const EdgeOutput<T>& output = outputs_[size_t(output_of(n))];
    return n >= plan.avg_row() ? output.avg_pool : n >= plan.max_row() ? output.max_pool : stages_[size_t(n)].last;
  }
  bool exists(int n) const { return n < plan.max_row() || is_term(n); }
  bool has_terms() const {
    bool any = false;
    for (int n = 0; n < plan.norms(); ++n) any |= is_term(n);
    return any;
  }
  // The gradient of edge e's z, from those of the norms' weights.
  void z_gradients(size_t e, const std::vector<double>& of_norm, T* to) const {
    double identity = 0.0;
    for (int64_t g = 0; g < plan.groups && outputs_[e].has_identity; ++g) {
      for (int64_t c = 0; c < plan.channels; ++c) identity += plan.sums_of(g, plan.norms() + int(e))[c];
    }
    for (size_t l = 0; l < norm_of_[e].size(); ++l) {
      const int n = norm_of_[e][l];
      to[l] = T(n == kIdentity ? identity : n == kNothing ? 0.0 : of_norm[size_t(n)]);
    }
  }

  int64_t stages() const { return int64_t(stages_.size()); }
  // So many of them have weights that are worth a thread.
  int64_t grain() const { return 1 + (int64_t{1} << 12) / (plan.padded_channels() * plan.padded_channels()); }
  // Puts stage s's weights in the order that the passes read. Every stage needs it, before the first pass.
  void pack(Direction direction, int64_t s);
  // The merged gradients of stage s's weights into the weights' own form; `to` has those of all edges in order.
  void unpack(int64_t s, const std::vector<T*>& to) const;

  Plan<T> plan{};

 private:
  static constexpr int kNothing = -1, kIdentity = -2;

  int output_of(int n) const {
    return n >= plan.avg_row()   ? n - plan.avg_row()
           : n >= plan.max_row() ? n - plan.max_row()
                                 : stages_[size_t(n)].output;
  }
  Norm<T>& norm(int n) {
    return n >= plan.avg_row()   ? outputs_[size_t(n - plan.avg_row())].avg_norm
           : n >= plan.max_row() ? outputs_[size_t(n - plan.max_row())].max_norm
                                 : stages_[size_t(n)].norm;
  }
  // The stages of all primitives: those that read x, then those that continue them.
  void resolve(const std::vector<Edge<T>>& edges, bool recompute);
  // Where the stages' weights lie among a group's, and the halo that their filters need; pools need one pixel.
  void place_weights() {
    plan.weights = 0;
    plan.halo = 1;
    for (Stage<T>& stage : stages_) {
      plan.halo = std::max<int64_t>(plan.halo, stage.dilation * (stage.kernel / 2));
      stage.depthwise_at = plan.weights;
      plan.weights += plan.padded_channels() * stage.taps();
      stage.pointwise_at = plan.weights;
      plan.weights += stage.products() * plan.padded_channels() * plan.padded_channels();
    }
  }
  // Gives every norm its rows of `memory`, which holds zeros; returns how many elements, which null memory counts.
  int64_t place_norms(T* memory) {
    int64_t taken = 0;
    const auto row = [&] {
      T* own = memory == nullptr ? nullptr : memory + taken;
      taken += plan.padded_channels();
      return own;
    };
    for (int n = 0; n < plan.norms(); ++n) norm(n) = {row(), row(), row(), row(), row(), row()};
    for (EdgeOutput<T>& output : outputs_) output.constant = row();
    // What comes back from all edges' pools together goes through norms of gain 1.
    T* ones = row();
    for (int64_t c = 0; c < plan.padded_channels() && memory != nullptr; ++c) ones[c] = T(1);
    plan.max_norm = norm(plan.max_row()), plan.avg_norm = norm(plan.avg_row());
    for (const EdgeOutput<T>& output : outputs_) {
      if (output.max_pool) plan.max_norm = output.max_norm;
      if (output.avg_pool) plan.avg_norm = output.avg_norm;
    }
    for (Norm<T>* joint : {&plan.max_norm, &plan.avg_norm})
      joint->gain = ones, joint->slope = row(), joint->intercept = row();
    return taken;
  }
  // Indices of a stage's two weights: a filter and a matrix, or the matrices of both halves.
  struct Source {
    int depthwise, pointwise;
    int matrix(const Stage<T>& stage, int product) const {
      return stage.kind == StageKind::convolution || product == 1 ? pointwise : depthwise;
    }
  };

  std::vector<const T*> weights_;
  std::vector<Stage<T>> stages_;
  std::vector<Source> sources_;
  std::vector<EdgeOutput<T>> outputs_;
  std::vector<std::vector<int>> last_stages_;  // of each output
  std::vector<std::vector<int>> norm_of_;      // of each edge's primitives
  std::vector<double> weight_;                 // of each norm in y; 1 for what stays inside
  int64_t kept_ = 0;
  Buffer<T> packed_, norms_;
  Buffer<double> sums_;
  std::vector<double> totals_;  // of the groups, for a norm
};

}  // namespace base_fast

#include "resolve.h"
#include "weights.h"
