// Mixed edges that read the same x, as their passes need them: primitives resolved into stages, weights packed by
// blocks of channels.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../memory/buffer.h"
#include "../memory/groups.h"
#include "plan.h"
#include "primitives.h"

namespace base_fast {

struct EdgeShape {
  int64_t images, channels, height, width;
  int stride;
};

// What an edge's weights are packed for.
enum class Way { forward, backward };

// One of the edges: the numbers of its primitives, their weights in y, and their own weights.
template <class T>
struct Edge {
  std::vector<int64_t> primitives;
  const T* z;
  std::vector<const T*> weights;
};

template <class T>
class Fan {
 public:
  // `recompute`: backward computes all values again.
  Fan(const EdgeShape& shape, const std::vector<Edge<T>>& edges, bool recompute) : targets_(edges.size()) {
    plan.images = shape.images;
    plan.channels = shape.channels;
    plan.blocks = (shape.channels + kBlock - 1) / kBlock;
    plan.height = shape.height;
    plan.width = shape.width;
    plan.stride = shape.stride;
    plan.out_height = (shape.height + shape.stride - 1) / shape.stride;
    plan.out_width = (shape.width + shape.stride - 1) / shape.stride;
    plan.x_pixel = plan.dx_pixel = plan.dx_addend_pixel = shape.channels;
    plan.targets = targets_.data();
    plan.count = int(edges.size());
    for (Target<T>& target : targets_) target.y_pixel = target.grad_pixel = target.y_addend_pixel = shape.channels;
    resolve(edges, recompute);
    for (const Stage<T>& stage : stages_) kept_ += stage.kept;
    plan.recompute = kept_ < stages();
    plan.weights = 0;
    plan.halo = 1;
    for (Stage<T>& stage : stages_) {
      const int64_t reach = stage.dilation * (stage.kernel / 2), square = plan.padded() * plan.padded();
      plan.halo = reach > plan.halo ? reach : plan.halo;
      stage.depthwise_at = plan.weights;
      plan.weights += plan.padded() * stage.kernel * stage.kernel;
      stage.pointwise_at = plan.weights;
      plan.weights += stage.kernel > 0 ? square : 2 * square;
    }
    plan.groups = groups_of(plan.images, plan.weights / plan.count);
    packed_ = Buffer<T>(2 * plan.weights);
    // Of every norm six rows; what the targets add to y; of both pools what comes back from all targets.
    const int64_t p = plan.padded(), norms = plan.norms();
    norms_ = Buffer<T>::zeros((norms * 6 + plan.count + 5) * p);
    T* at = norms_.get();
    for (int n = 0; n < norms; ++n, at += 6 * p) norm(n) = {at, at + p, at + 2 * p, at + 3 * p, at + 4 * p, at + 5 * p};
    for (Target<T>& target : targets_) target.constant = at, at += p;
    for (int64_t c = 0; c < p; ++c) at[c] = T(1);
    plan.max_norm = norm(plan.max_row()), plan.avg_norm = norm(plan.avg_row());
    for (const Target<T>& target : targets_) {
      if (target.max_pool) plan.max_norm = target.max_norm;
      if (target.avg_pool) plan.avg_norm = target.avg_norm;
    }
    plan.max_norm.gain = plan.avg_norm.gain = at;
    plan.max_norm.slope = at + p, plan.max_norm.intercept = at + 2 * p;
    plan.avg_norm.slope = at + 3 * p, plan.avg_norm.intercept = at + 4 * p;
    sums_ = Buffer<double>(plan.groups * plan.rows() * 2 * p);
    plan.sums = sums_.get();
    plan.stages = stages_.data();
    plan.weight_gradients = nullptr;
  }
  Fan(const Fan&) = delete;

  // Elements of the stages' values before their norms, and doubles of all norms' statistics.
  int64_t image() const { return plan.padded() * plan.out_pixels(); }
  int64_t kept_values() const { return kept_ * plan.images * image(); }
  int64_t other_values() const { return (stages() - kept_) * plan.images * image(); }
  int64_t statistics() const { return plan.norms() * 2 * plan.padded(); }

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
  // Memory for the gradients that second stages hand to the first: `second` times images()·image() elements.
  void use_hidden_gradients(T* memory) {
    for (int s = plan.first; s < plan.first + plan.second; ++s, memory += plan.images * image())
      stages_[stages_[s].input].gradient = memory;
  }

  // From the groups' moments to the norm's mean and variance; statistics as [norm][mean, variance][channel], zeros for
  // pools that are not there.
  void merge_moments(int n, double* statistics) const {
    const int64_t p = plan.padded();
    if (!exists(n)) {
      std::memset(statistics + n * 2 * p, 0, size_t(2 * p) * sizeof(double));
      return;
    }
    double *mean = statistics + n * 2 * p, *square = mean + p;
    const int row = n < plan.max_row() ? n : n < plan.avg_row() ? plan.max_row() : plan.avg_row();
    int64_t before = 0;
    for (int64_t g = 0; g < plan.groups; ++g) {
      const int64_t images = plan.begin(g + 1) - plan.begin(g);
      const double part = double(images) / double(before + images), *more = plan.sums_of(g, row);
      for (int64_t c = 0; c < p; ++c) {
        const double delta = g == 0 ? 0.0 : more[c] - mean[c];
        mean[c] = g == 0 ? more[c] : mean[c] + delta * part;
        square[c] = (g == 0 ? 0.0 : square[c]) + more[p + c] +
                    delta * delta * double(before) * part * double(plan.out_pixels());
      }
      before += images;
    }
    for (int64_t c = 0; c < p; ++c) square[c] /= double(plan.images * plan.out_pixels());
  }

  // The forward half of a norm, and its part in y.
  void set_norm(int n, const double* statistics) {
    const Norm<T>& to = norm(n);
    T* constant = const_cast<T*>(targets_[size_t(target_of(n))].constant);
    for (int64_t c = 0; c < plan.padded(); ++c) {
      const double mean = statistics[n * 2 * plan.padded() + c];
      const double rstd = 1.0 / std::sqrt(statistics[(n * 2 + 1) * plan.padded() + c] + 1e-5);
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
    const int64_t p = plan.padded();
    const double count = double(plan.images * plan.out_pixels());
    std::vector<double>& sums = totals_;
    sums.assign(size_t(2 * p), 0.0);
    for (int64_t g = 0; g < plan.groups; ++g) {
      const double* more = plan.sums_of(g, n);
      for (int64_t c = 0; c < 2 * p; ++c) sums[size_t(c)] += more[c];
    }
    double total = 0.0;
    for (int64_t c = 0; c < p; ++c) {
      const double sum = sums[size_t(c)], rstd = 1.0 / std::sqrt(statistics[(n * 2 + 1) * p + c] + 1e-5);
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
  void clear_sums() { std::memset(plan.sums, 0, size_t(plan.groups * plan.rows() * 2 * plan.padded()) * sizeof(double)); }

  // What the pools' norms give back, all targets together, once every one is set.
  void join_pools() {
    for (const Target<T>& target : targets_) {
      for (int64_t c = 0; c < plan.padded(); ++c) {
        plan.max_norm.slope[c] += target.max_norm.slope[c], plan.max_norm.intercept[c] += target.max_norm.intercept[c];
        plan.avg_norm.slope[c] += target.avg_norm.slope[c], plan.avg_norm.intercept[c] += target.avg_norm.intercept[c];
      }
    }
  }

  // Whether norm n's values are summed by y: not the first halves of separable convolutions, nor pools that are not there.
  bool is_term(int n) const {
    const Target<T>& target = targets_[size_t(target_of(n))];
    return n >= plan.avg_row() ? target.avg_pool : n >= plan.max_row() ? target.max_pool : stages_[size_t(n)].last;
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
    for (int64_t g = 0; g < plan.groups && targets_[e].has_identity; ++g) {
      for (int64_t c = 0; c < plan.channels; ++c) identity += plan.sums_of(g, plan.norms() + int(e))[c];
    }
    for (size_t l = 0; l < norm_of_[e].size(); ++l) {
      const int n = norm_of_[e][l];
      to[l] = T(n == kIdentity ? identity : n == kNothing ? 0.0 : of_norm[size_t(n)]);
    }
  }

  int64_t stages() const { return int64_t(stages_.size()); }
  // So many of them have weights that are worth a thread.
  int64_t grain() const { return 1 + (int64_t{1} << 12) / (plan.padded() * plan.padded()); }
  // Puts stage s's weights in the order that the passes read. Every stage needs it, before the first pass.
  void pack(Way way, int64_t s);
  // The merged gradients of stage s's weights into the weights' own form; `to` has those of all edges in order.
  void unpack(int64_t s, const std::vector<T*>& to) const;

  Plan<T> plan{};

 private:
  static constexpr int kNothing = -1, kIdentity = -2;

  int target_of(int n) const {
    return n >= plan.avg_row() ? n - plan.avg_row() : n >= plan.max_row() ? n - plan.max_row() : stages_[size_t(n)].target;
  }
  Norm<T>& norm(int n) {
    return n >= plan.avg_row()   ? targets_[size_t(n - plan.avg_row())].avg_norm
           : n >= plan.max_row() ? targets_[size_t(n - plan.max_row())].max_norm
                                 : stages_[size_t(n)].norm;
  }
  void resolve(const std::vector<Edge<T>>& edges, bool recompute);
  struct Source {
    int depthwise, pointwise;  // indices of weights
  };

  std::vector<const T*> weights_;
  std::vector<Stage<T>> stages_;
  std::vector<Source> sources_;
  std::vector<Target<T>> targets_;
  std::vector<std::vector<int>> last_stages_;  // of each target
  std::vector<std::vector<int>> norm_of_;      // of each edge's primitives
  std::vector<double> weight_;                 // of each norm in y; 1 for what stays inside
  int64_t kept_ = 0;
  Buffer<T> packed_, norms_;
  Buffer<double> sums_;
  std::vector<double> totals_;  // of the groups, for a norm
};

template <class T>
void Fan<T>::resolve(const std::vector<Edge<T>>& edges, bool recompute) {
  struct Late {
    Stage<T> stage;
    Source source;
    double weight;
    size_t primitive;
  };
  std::vector<Late> second;
  second.reserve(edges.size() * 2), stages_.reserve(edges.size() * 6), sources_.reserve(edges.size() * 6);
  norm_of_.reserve(edges.size()), weights_.reserve(edges.size() * 14);
  for (size_t e = 0; e < edges.size(); ++e) {
    const Edge<T>& edge = edges[e];
    Target<T>& target = targets_[e];
    int next = int(weights_.size());
    weights_.insert(weights_.end(), edge.weights.begin(), edge.weights.end());
    norm_of_.emplace_back(edge.primitives.size(), kNothing);
    for (size_t l = 0; l < edge.primitives.size(); ++l) {
      const auto stage = [&](int kernel, int dilation, int stride, int input, bool last) {
        Stage<T> s{};
        s.kernel = kernel, s.dilation = dilation, s.stride = stride, s.input = input, s.last = last;
        s.target = int(e), s.kept = !recompute && is_kept(edge.primitives, edge.primitives[l]);
        return s;
      };
      const double weight = double(edge.z[l]);
      const auto first = [&](int kernel, int dilation, bool last) {
        stages_.push_back(stage(kernel, dilation, plan.stride, -1, last));
        sources_.push_back({next, next + 1});
        weight_.push_back(last ? weight : 1.0);
        norm_of_[e][l] = int(stages_.size()) - 1;
        next += 2;
      };
      const auto separable = [&](int kernel) {
        first(kernel, 1, false);
        second.push_back({stage(kernel, 1, 1, int(stages_.size()) - 1, true), {next, next + 1}, weight, l});
        next += 2;
      };
      switch (Primitive(edge.primitives[l])) {
        case Primitive::max_pool:
          target.max_pool = true;
          break;
        case Primitive::avg_pool:
          target.avg_pool = true;
          break;
        case Primitive::skip:
          if (plan.stride == 2) {
            first(0, 1, true);
          } else {
            target.has_identity = true, target.identity += edge.z[l], norm_of_[e][l] = kIdentity;
          }
          break;
        case Primitive::sep_3:
          separable(3);
          break;
        case Primitive::sep_5:
          separable(5);
          break;
        case Primitive::sep_7:
          separable(7);
          break;
        case Primitive::dil_3:
          first(3, 2, true);
          break;
        case Primitive::dil_5:
          first(5, 2, true);
          break;
        case Primitive::none:
          break;
      }
    }
    plan.max_pool |= target.max_pool, plan.avg_pool |= target.avg_pool, plan.has_identity |= target.has_identity;
  }
  plan.first = int(stages_.size()), plan.second = int(second.size());
  for (const Late& late : second) {
    norm_of_[size_t(late.stage.target)][late.primitive] = int(stages_.size());
    stages_.push_back(late.stage);
    sources_.push_back(late.source);
    weight_.push_back(late.weight);
  }
  weight_.resize(size_t(plan.norms()), 0.0);
  last_stages_.resize(edges.size());
  for (size_t s = 0; s < stages_.size(); ++s)
    if (stages_[s].last) last_stages_[size_t(stages_[s].target)].push_back(int(s));
  for (size_t e = 0; e < edges.size(); ++e) {
    targets_[e].stages = last_stages_[e].data(), targets_[e].count = int(last_stages_[e].size());
    for (size_t l = 0; l < edges[e].primitives.size(); ++l) {
      const Primitive primitive = Primitive(edges[e].primitives[l]);
      if (primitive != Primitive::max_pool && primitive != Primitive::avg_pool) continue;
      norm_of_[e][l] = int(e) + (primitive == Primitive::max_pool ? plan.max_row() : plan.avg_row());
      weight_[size_t(norm_of_[e][l])] += double(edges[e].z[l]);
    }
  }
}

}  // namespace base_fast

#include "weights.h"
