// Nodes of images, each a sum of what comes from those before it: a node itself, its average pool, or a convolution of
// its ReLU, the last two behind a batch norm. PyTorch convolves; all else is one pass over a node where it needs sums
// over the batch, and one where it does not.
#pragma once

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include <array>
#include <cmath>

#include "../blocked/layout.h"
#include "../blocked/moments_merge.h"
#include "../elementwise/channels.h"
#include "mixed_op_tensors.h"
#include "tensor.h"
#include "threads.h"

namespace base_fast {

// scale·f(node `from`), a part of node `to`.
struct Term {
  enum Kind { identity, average, convolution } kind;
  int64_t from, to;
  double scale;
  Tensor weight;  // of a convolution (C_out, C_in, k, k), k odd, padded to keep the size
  bool has_norm() const { return kind != identity; }
};

// A convolution, of stride 1, and its gradients, without a record for autograd; channels-last.
class Convolution2d {
 public:
  explicit Convolution2d(const Tensor& weight) : weight_(weight) { padding_.fill(weight.size(2) / 2); }

  Tensor forward(const Tensor& x) const {
    AtenTensorHandle y;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_convolution(x.get(), weight_.get(), nullptr, one_.data(), 2,
                                                             padding_.data(), 2, one_.data(), 2, 0, zero_.data(), 2, 1,
                                                             &y));
    return channels_last(Tensor(y));
  }
  // For x and the weight.
  std::pair<Tensor, Tensor> backward(const Tensor& grad, const Tensor& x) const {
    AtenTensorHandle dx, dw, none;
    const int32_t wanted[] = {1, 1, 0};
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_convolution_backward(
        grad.get(), x.get(), weight_.get(), nullptr, 0, one_.data(), 2, padding_.data(), 2, one_.data(), 2, 0,
        zero_.data(), 2, 1, wanted, 3, &dx, &dw, &none));
    const Tensor nothing(none);
    return {channels_last(Tensor(dx)), dense(Tensor(dw))};
  }

 private:
  using Pair = std::array<int64_t, 2>;
  Tensor weight_;
  Pair padding_, one_{1, 1}, zero_{0, 0};
};

// Summands with their numbers per channel, these repeated so often that a row has whole vectors.
template <class T>
class Summands {
 public:
  Summands(int64_t channels, int64_t fold) : channels_(channels), fold_(fold) {}

  // scale(c)·(x − shift(c))
  template <class Scale, class Shift>
  void add(const Tensor& x, const Scale& scale, const Shift& shift) {
    numbers_.emplace_back(size_t(2 * channels_ * fold_));
    T* to = numbers_.back().data();
    const int64_t wide = channels_ * fold_;
    for (int64_t i = 0; i < wide; ++i) to[i] = T(scale(i % channels_)), to[wide + i] = T(shift(i % channels_));
    all_.push_back({data<T>(x), to, to + wide});
  }
  void add(const Tensor& x, double scale) {
    add(x, [scale](int64_t) { return scale; }, [](int64_t) { return 0.0; });
  }
  const Summand<T>* data_of() const { return all_.data(); }
  int64_t count() const { return int64_t(all_.size()); }

 private:
  int64_t channels_, fold_;
  std::vector<std::vector<T>> numbers_;
  std::vector<Summand<T>> all_;
};

template <class T>
class NodeSums {
 public:
  // The inputs are the first nodes, channels-last; the last one is the output. Every other node is used by some term.
  NodeSums(const std::vector<Tensor>& inputs, int64_t nodes, std::vector<Term> terms);

  // What backward reads: the output, the values before norms, what the inner nodes are and their ReLUs, statistics.
  std::vector<Tensor> forward();

  struct Gradients {
    std::vector<Tensor> inputs;
    std::vector<Tensor> weights;   // of each term, if it has one
    std::vector<double> products;  // Σ grad·f of each term, if asked for
  };
  Gradients backward(const Tensor& grad, const std::vector<Tensor>& kept, bool products);

 private:
  template <class F>
  void each_term(int64_t Term::* end, int64_t node, const F& f) const {
    for (size_t t = 0; t < terms_.size(); ++t)
      if (terms_[t].*end == node) f(t, terms_[t]);
  }
  bool is_read(int64_t node, bool rectified) const {
    bool found = false;
    each_term(&Term::from, node,
              [&](size_t, const Term& term) { found |= rectified == (term.kind == Term::convolution); });
    return found;
  }
  bool is_inner(int64_t node) const { return node >= inputs_ && node + 1 < nodes_; }
  Tensor image() const { return empty_image(images_, channels_, height_, width_, dtype_); }
  Summands<T> summands() const { return {channels_, fold_}; }
  double* statistics(size_t t) const { return mutable_data<double>(statistics_) + int64_t(t) * 2 * channels_; }
  // Calls f with every tensor that is kept besides the output.
  template <class F>
  void each_kept(const F& f);
  void sum(const ChannelSum<T>& of) const;
  void set_statistics(size_t t);
  Tensor pooled(const Tensor& x, bool transposed) const;
  std::vector<double> projections(const Tensor& grad, const Summands<T>& of) const;

  int64_t inputs_, nodes_;
  std::vector<Term> terms_;
  int64_t images_, channels_, height_, width_, pixels_;
  ScalarType dtype_;
  // A row is so many pixels, and a piece of work so many rows.
  int64_t fold_ = 1, rows_, cut_;
  std::vector<Tensor> value_, rectified_, before_norm_;
  Tensor statistics_;  // (terms, 2, channels): mean, 1/√(variance + ε)
};

template <class T>
NodeSums<T>::NodeSums(const std::vector<Tensor>& inputs, int64_t nodes, std::vector<Term> terms)
    : inputs_(int64_t(inputs.size())),
      nodes_(nodes),
      terms_(std::move(terms)),
      value_(size_t(nodes)),
      rectified_(size_t(nodes)),
      before_norm_(terms_.size()) {
  const Tensor& x = inputs[0];
  images_ = x.size(0), channels_ = x.size(1), height_ = x.size(2), width_ = x.size(3);
  pixels_ = images_ * height_ * width_, dtype_ = x.scalar_type();
  while (fold_ * channels_ % kBlock != 0 && pixels_ % (2 * fold_) == 0) fold_ *= 2;
  rows_ = pixels_ / fold_, cut_ = std::max<int64_t>(1, kCut / (fold_ * channels_));
  std::copy(inputs.begin(), inputs.end(), value_.begin());
}

template <class T>
template <class F>
void NodeSums<T>::each_kept(const F& f) {
  for (size_t t = 0; t < terms_.size(); ++t)
    if (terms_[t].has_norm()) f(before_norm_[t]);
  for (int64_t n = 0; n < nodes_; ++n) {
    if (is_inner(n) && is_read(n, false)) f(value_[size_t(n)]);
    if (is_read(n, true)) f(rectified_[size_t(n)]);
  }
  f(statistics_);
}

template <class T>
void NodeSums<T>::sum(const ChannelSum<T>& of) const {
  const auto kernel = BF_KERNEL(channel_sum<T>);
  parallel(rows_, [&](int64_t begin, int64_t end) { kernel(of, begin, end, channels_ * fold_); }, cut_);
}

template <class T>
void NodeSums<T>::set_statistics(size_t t) {
  const auto kernel = BF_KERNEL(channel_moments<T>);
  const int64_t wide = channels_ * fold_, parts = cuts(rows_, cut_);
  const T* x = data<T>(before_norm_[t]);
  std::vector<double> all(size_t(2 * parts * wide));
  const auto rows_of = [&](int64_t part) { return std::min(cut_, rows_ - part * cut_); };
  parallel_each(parts, 1, [&](int64_t part) {
    double* to = all.data() + part * 2 * wide;
    kernel(x + part * cut_ * wide, rows_of(part), wide, to, to + wide);
  });
  double *mean = statistics(t), *rstd = mean + channels_;
  for (int64_t c = 0; c < channels_; ++c) {
    double m = 0.0, square = 0.0;
    int64_t before = 0;
    for (int64_t part = 0; part < parts; ++part) {
      for (int64_t i = c; i < wide; i += channels_) {
        const MomentsMerge merge(double(before), double(rows_of(part)));
        const double more = all[size_t(part * 2 * wide + i)];
        square += all[size_t(part * 2 * wide + wide + i)] + merge.between(m, more);
        m = merge.mean(m, more);
        before += rows_of(part);
      }
    }
    mean[c] = m;
    rstd[c] = 1.0 / std::sqrt(square / double(pixels_) + kBatchNormEpsilon);
  }
}

template <class T>
Tensor NodeSums<T>::pooled(const Tensor& x, bool transposed) const {
  struct Lines;
  const auto kernel = BF_KERNEL(average_3x3<T>);
  const Tensor y = image();
  const int64_t size = height_ * width_ * channels_;
  const T* from = data<T>(x);
  T* to = mutable_data<T>(y);
  parallel_ranges(images_, std::max<int64_t>(1, kCut / size), [&](int64_t begin, int64_t end) {
    T* lines = thread_memory<Lines, T>((2 * width_ + 2) * channels_);
    for (int64_t i = begin; i < end; ++i)
      kernel(from + i * size, to + i * size, height_, width_, channels_, transposed, lines);
  });
  return y;
}

template <class T>
std::vector<Tensor> NodeSums<T>::forward() {
  statistics_ = empty({int64_t(terms_.size()), 2, channels_}, ScalarType::Double);
  std::memset(statistics_.mutable_data_ptr(), 0, size_t(statistics_.numel()) * sizeof(double));
  for (int64_t n = 0; n < nodes_; ++n) {
    const bool rectified = is_read(n, true);
    Summands<T> parts = summands();
    if (n < inputs_ && rectified) parts.add(value_[size_t(n)], 1.0);
    each_term(&Term::to, n, [&](size_t t, const Term& term) {
      const size_t from = size_t(term.from);
      if (term.kind == Term::identity) return parts.add(value_[from], term.scale);
      before_norm_[t] = term.kind == Term::average ? pooled(value_[from], false)
                                                   : Convolution2d(term.weight).forward(rectified_[from]);
      set_statistics(t);
      const double *mean = statistics(t), *rstd = mean + channels_;
      parts.add(before_norm_[t], [&](int64_t c) { return term.scale * rstd[c]; }, [&](int64_t c) { return mean[c]; });
    });
    ChannelSum<T> of{parts.data_of(), parts.count(), nullptr, 0, nullptr, nullptr, nullptr};
    if (n >= inputs_ && (!is_inner(n) || is_read(n, false))) {
      value_[size_t(n)] = image();
      of.sum = mutable_data<T>(value_[size_t(n)]);
    }
    if (rectified) {
      rectified_[size_t(n)] = image();
      of.rectified = mutable_data<T>(rectified_[size_t(n)]);
    }
    if (of.sum != nullptr || of.rectified != nullptr) sum(of);
  }
  std::vector<Tensor> kept{value_.back()};
  each_kept([&](Tensor& x) { kept.push_back(x); });
  return kept;
}

// Σ grad, then Σ grad·(x − shift) of every summand, per channel.
template <class T>
std::vector<double> NodeSums<T>::projections(const Tensor& grad, const Summands<T>& of) const {
  const auto kernel = BF_KERNEL(channel_projections<T>);
  const int64_t wide = channels_ * fold_, parts = cuts(rows_, cut_), count = of.count() + 1;
  std::vector<double> all(size_t(parts * count * wide)), sums(size_t(count * channels_));
  const T* g = data<T>(grad);
  parallel_each(parts, 1, [&](int64_t part) {
    kernel(g, of.data_of(), of.count(), part * cut_, std::min((part + 1) * cut_, rows_), wide,
           all.data() + part * count * wide);
  });
  for (size_t i = 0; i < all.size(); ++i) {
    const int64_t at = int64_t(i) % (count * wide);
    sums[size_t(at / wide * channels_ + at % wide % channels_)] += all[i];
  }
  return sums;
}

template <class T>
typename NodeSums<T>::Gradients NodeSums<T>::backward(const Tensor& grad, const std::vector<Tensor>& kept,
                                                      bool products) {
  size_t taken = 1;
  each_kept([&](Tensor& x) {
    STD_TORCH_CHECK(taken < kept.size(), "kept: expected what the forward pass gave");
    x = kept[taken++];
  });
  Gradients gradients{{}, std::vector<Tensor>(terms_.size()), std::vector<double>(terms_.size(), 0.0)};
  // What every node's gradient is a sum of; `through` its ReLU.
  std::vector<Summands<T>> plain(size_t(nodes_), summands()), through(size_t(nodes_), summands());
  // Every tensor that these point to.
  std::vector<Tensor> alive{grad};
  const double count = double(pixels_);
  // Of the values before one norm after another, near as it stays.
  const Tensor dv = image();
  for (int64_t n = nodes_; n-- > 0;) {
    Tensor g = grad;
    if (n + 1 < nodes_) {
      g = image();
      const Summands<T>&own = plain[size_t(n)], &masked = through[size_t(n)];
      sum({own.data_of(), own.count(), masked.data_of(), masked.count(),
           masked.count() > 0 ? data<T>(rectified_[size_t(n)]) : nullptr, mutable_data<T>(g), nullptr});
      alive.push_back(g);
    }
    if (n < inputs_) {
      gradients.inputs.insert(gradients.inputs.begin(), g);
      continue;
    }
    Summands<T> values = summands();
    each_term(&Term::to, n, [&](size_t t, const Term& term) {
      if (!term.has_norm() && !products) return;
      const Tensor& x = term.has_norm() ? before_norm_[t] : value_[size_t(term.from)];
      const double* mean = statistics(t);
      values.add(x, [](int64_t) { return 1.0; }, [&](int64_t c) { return mean[c]; });
    });
    const std::vector<double> sums = values.count() > 0 ? projections(g, values) : std::vector<double>();
    const double* product = sums.data();
    each_term(&Term::to, n, [&](size_t t, const Term& term) {
      const size_t from = size_t(term.from);
      const double *mean = statistics(t), *rstd = mean + channels_;
      if (!term.has_norm()) {
        plain[from].add(g, term.scale);
        if (!products) return;
        product += channels_;
        for (int64_t c = 0; c < channels_; ++c) gradients.products[t] += product[c];
        return;
      }
      product += channels_;
      for (int64_t c = 0; c < channels_; ++c) gradients.products[t] += rstd[c] * product[c];
      // The norm's gradient takes away what lies along one and along the values.
      Summands<T> parts = summands();
      parts.add(g, [&](int64_t c) { return term.scale * rstd[c]; }, [&](int64_t c) { return sums[size_t(c)] / count; });
      parts.add(
          before_norm_[t], [&](int64_t c) { return -term.scale * rstd[c] * rstd[c] * rstd[c] * product[c] / count; },
          [&](int64_t c) { return mean[c]; });
      sum({parts.data_of(), parts.count(), nullptr, 0, nullptr, mutable_data<T>(dv), nullptr});
      if (term.kind == Term::average) {
        alive.push_back(pooled(dv, true));
        plain[from].add(alive.back(), 1.0);
      } else {
        Tensor dx;
        std::tie(dx, gradients.weights[t]) = Convolution2d(term.weight).backward(dv, rectified_[from]);
        alive.push_back(dx);
        through[from].add(dx, 1.0);
      }
    });
  }
  return gradients;
}

}  // namespace base_fast
