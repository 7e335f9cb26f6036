// A mixed edge as its passes need it: primitives resolved into stages, weights packed by blocks of channels.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "buffer.h"
#include "mixed_op_plan.h"

namespace base_fast {

// The numbers of the primitives in the op's schema; any other contributes nothing.
enum class Primitive : int64_t { none, max_pool, avg_pool, skip, sep_3, sep_5, sep_7, dil_3, dil_5 };
constexpr int64_t kPrimitives = 9;

// The numbers of elements of the weights that the primitives take, in order.
inline std::vector<int64_t> weight_sizes(const std::vector<int64_t>& primitives, int64_t channels, int stride) {
  std::vector<int64_t> sizes;
  const auto add = [&](int64_t kernel, int times) {
    for (int i = 0; i < times; ++i) sizes.insert(sizes.end(), {channels * kernel * kernel, channels * channels});
  };
  for (const int64_t primitive : primitives) {
    switch (Primitive(primitive)) {
      case Primitive::skip:
        if (stride == 2) sizes.insert(sizes.end(), {channels / 2 * channels, (channels - channels / 2) * channels});
        break;
      case Primitive::sep_3:
      case Primitive::sep_5:
      case Primitive::sep_7:
        add(3 + 2 * (primitive - int64_t(Primitive::sep_3)), 2);
        break;
      case Primitive::dil_3:
      case Primitive::dil_5:
        add(3 + 2 * (primitive - int64_t(Primitive::dil_3)), 1);
        break;
      default:
        break;
    }
  }
  return sizes;
}

struct EdgeShape {
  int64_t images, channels, height, width;
  int stride;
};

// How many images' partial results there are: by shape alone, so that sums do not depend on the number of threads.
// Many small ones balance the threads, and a power of two most numbers of them; partial weight gradients should stay
// small beside the activations.
inline int64_t groups_of(int64_t images, int64_t weights) {
  int64_t groups = 64;
  while (groups > 8 && groups * weights > int64_t{1} << 19) groups /= 2;
  return images < groups ? images : groups;
}

// What an edge's weights are packed for.
enum class Way { forward, backward, recomputing_backward };
inline Way backward_of(bool recomputes) { return recomputes ? Way::recomputing_backward : Way::backward; }

template <class T>
class Edge {
 public:
  Edge(const EdgeShape& shape, const std::vector<int64_t>& primitives, const T* z, const std::vector<const T*>& weights,
       Way way)
      : weights_(weights) {
    plan.images = shape.images;
    plan.channels = shape.channels;
    plan.blocks = (shape.channels + kBlock - 1) / kBlock;
    plan.height = shape.height;
    plan.width = shape.width;
    plan.stride = shape.stride;
    plan.out_height = (shape.height + shape.stride - 1) / shape.stride;
    plan.out_width = (shape.width + shape.stride - 1) / shape.stride;
    plan.x_pixel = plan.y_pixel = plan.grad_pixel = plan.dx_pixel = shape.channels;
    plan.y_addend_pixel = plan.dx_addend_pixel = shape.channels;
    resolve(primitives, z);
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
    plan.groups = groups_of(plan.images, plan.weights);
    pack(way);
    norms_ = Buffer<T>::zeros((plan.norms() * 6 + 1) * plan.padded());
    plan.constant = norms_.get() + plan.norms() * 6 * plan.padded();
    for (int n = 0; n < plan.norms(); ++n) {
      T* at = norms_.get() + n * 6 * plan.padded();
      const int64_t p = plan.padded();
      norm(n) = {at, at + p, at + 2 * p, at + 3 * p, at + 4 * p, at + 5 * p};
    }
    sums_ = Buffer<double>::zeros(plan.groups * (plan.norms() + 1) * 2 * plan.padded());
    plan.sums = sums_.get();
    plan.stages = stages_.data();
    plan.weight_gradients = nullptr;
  }
  Edge(const Edge&) = delete;

  // Elements of all stages' values before their norms, and doubles of all norms' statistics.
  int64_t image() const { return plan.padded() * plan.out_pixels(); }
  int64_t values() const { return int64_t(stages_.size()) * plan.images * image(); }
  int64_t statistics() const { return plan.norms() * 2 * plan.padded(); }

  // Memory for them: kept from forward to backward, or any, where backward computes them again.
  void use_values(void* values, Storage storage, bool recompute = false) {
    plan.value_storage = storage;
    plan.recompute = recompute;
    const int64_t size = storage == Storage::own ? sizeof(T) : sizeof(bfloat16);
    for (size_t s = 0; s < stages_.size(); ++s)
      stages_[s].v = static_cast<char*>(values) + int64_t(s) * plan.images * image() * size;
  }
  // Memory for the gradients that second stages hand to the first: `second` times images()·image() elements.
  void use_hidden_gradients(T* memory) {
    for (int s = plan.first; s < plan.first + plan.second; ++s, memory += plan.images * image())
      stages_[stages_[s].input].gradient = memory;
  }

  // From the groups' moments to the norm's mean and variance; statistics as [norm][mean, variance][channel].
  void merge_moments(int n, double* statistics) const {
    const int64_t p = plan.padded();
    double *mean = statistics + n * 2 * p, *square = mean + p;
    int64_t before = 0;
    for (int64_t g = 0; g < plan.groups; ++g) {
      const int64_t images = plan.begin(g + 1) - plan.begin(g);
      const double part = double(images) / double(before + images), *more = plan.sums_of(g, n);
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
    T* constant = const_cast<T*>(plan.constant);
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
    double total = 0.0;
    for (int64_t c = 0; c < p; ++c) {
      double sum = 0.0, product = 0.0;
      for (int64_t g = 0; g < plan.groups; ++g) {
        sum += plan.sums_of(g, n)[c];
        product += plan.sums_of(g, n)[p + c];
      }
      const double rstd = 1.0 / std::sqrt(statistics[(n * 2 + 1) * p + c] + 1e-5), offset = double(to.offset[c]);
      if (is_term(n)) product = rstd * product + offset * sum;
      if (c < plan.channels) total += product;
      const double gain = weight_[n] * rstd;
      to.gain[c] = T(gain);
      to.slope[c] = T(-gain * rstd * product / count);
      to.intercept[c] = T(-gain * (sum + offset * product) / count);
    }
    return total;
  }

  double identity_gradient() const {
    double total = 0.0;
    for (int64_t g = 0; g < plan.groups; ++g) {
      for (int64_t c = 0; c < plan.channels; ++c) total += plan.sums_of(g, plan.norms())[c];
    }
    return total;
  }

  // Whether norm n's values are summed by y: not the first halves of separable convolutions, nor pools that are not there.
  bool is_term(int n) const {
    return n == plan.norms() - 1 ? plan.avg_pool : n == plan.norms() - 2 ? plan.max_pool : stages_[n].last;
  }
  bool has_terms() const {
    bool any = false;
    for (int n = 0; n < plan.norms(); ++n) any |= is_term(n);
    return any;
  }
  // Primitive l's norm, or −1.
  int norm_of(size_t l) const { return norm_of_[l]; }
  bool is_identity(size_t l) const { return norm_of_[l] == kIdentity; }

  // The merged gradients, as packed, into the weights' own form.
  void unpack(const T* gradients, const std::vector<T*>& to) const;

  Plan<T> plan{};

 private:
  static constexpr int kIdentity = -2;

  Norm<T>& norm(int n) {
    return n < int(stages_.size()) ? stages_[n].norm
           : n == plan.norms() - 2 ? plan.max_norm
                                   : plan.avg_norm;
  }
  void resolve(const std::vector<int64_t>& primitives, const T* z);
  void pack(Way way);

  struct Source {
    int depthwise, pointwise;  // indices of weights
  };

  std::vector<const T*> weights_;
  std::vector<Stage<T>> stages_;
  std::vector<Source> sources_;
  std::vector<int> norm_of_;
  std::vector<double> weight_;  // of each norm in y; 1 for what stays inside
  Buffer<T> packed_, norms_;
  Buffer<double> sums_;
};

template <class T>
void Edge<T>::resolve(const std::vector<int64_t>& primitives, const T* z) {
  std::vector<Stage<T>> second;
  std::vector<Source> second_sources;
  std::vector<double> second_weights;
  const auto stage = [&](int kernel, int dilation, int stride, int input, bool last) {
    Stage<T> s{};
    s.kernel = kernel, s.dilation = dilation, s.stride = stride, s.input = input, s.last = last;
    return s;
  };
  double max_weight = 0.0, avg_weight = 0.0;
  int next = 0;
  norm_of_.assign(primitives.size(), -1);
  std::vector<size_t> seconds;
  for (size_t l = 0; l < primitives.size(); ++l) {
    const double weight = double(z[l]);
    const auto first = [&](int kernel, int dilation, bool last) {
      stages_.push_back(stage(kernel, dilation, plan.stride, -1, last));
      sources_.push_back({next, next + 1});
      weight_.push_back(last ? weight : 1.0);
      norm_of_[l] = int(stages_.size()) - 1;
      next += 2;
    };
    const auto separable = [&](int kernel) {
      first(kernel, 1, false);
      second.push_back(stage(kernel, 1, 1, int(stages_.size()) - 1, true));
      second_sources.push_back({next, next + 1});
      second_weights.push_back(weight);
      seconds.push_back(l);
      next += 2;
    };
    switch (Primitive(primitives[l])) {
      case Primitive::max_pool:
        plan.max_pool = true, max_weight += weight;
        break;
      case Primitive::avg_pool:
        plan.avg_pool = true, avg_weight += weight;
        break;
      case Primitive::skip:
        if (plan.stride == 2) {
          first(0, 1, true);
        } else {
          plan.has_identity = true, plan.identity += z[l], norm_of_[l] = kIdentity;
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
  plan.first = int(stages_.size()), plan.second = int(second.size());
  for (size_t i = 0; i < second.size(); ++i) norm_of_[seconds[i]] = plan.first + int(i);
  for (size_t l = 0; l < primitives.size(); ++l) {
    if (Primitive(primitives[l]) == Primitive::max_pool) norm_of_[l] = plan.norms() - 2;
    if (Primitive(primitives[l]) == Primitive::avg_pool) norm_of_[l] = plan.norms() - 1;
  }
  stages_.insert(stages_.end(), second.begin(), second.end());
  sources_.insert(sources_.end(), second_sources.begin(), second_sources.end());
  weight_.insert(weight_.end(), second_weights.begin(), second_weights.end());
  weight_.push_back(max_weight);
  weight_.push_back(avg_weight);
}

}  // namespace base_fast

#include "mixed_op_weights.h"
