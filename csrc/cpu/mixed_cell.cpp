#define BF_DECLARATIONS "mixed_op.h"
#include "declare.h"

#include "mixed_op_tensors.h"
#include "registration.h"

namespace base_fast {
namespace {

// NHWC images, so many elements from one pixel to the next: a node's are some channels of the cell's output.
struct Images {
  char* base = nullptr;
  int64_t pixel = 0;
};

// One edge: which nodes it joins, the primitives that run, and where its numbers lie among those of the cell.
struct Link {
  int64_t from, to;
  int stride;
  std::vector<int64_t> primitives;
  int64_t z_at;
  std::vector<int64_t> weights_at;

  // `none` alone adds nothing.
  bool runs() const {
    for (int64_t primitive : primitives)
      if (Primitive(primitive) != Primitive::none) return true;
    return false;
  }
};

struct Settings {
  std::vector<int64_t> primitives, concat;
  bool reduction;
  std::vector<int64_t> chosen;
  Memory memory;
};

// Nodes are numbered, inputs first; every computed one has an edge from each node before it.
template <class T>
class Cell {
 public:
  Cell(const std::vector<Tensor>& states, const Tensor& z, const Tensor& weights, const Settings& settings, Way way);

  std::tuple<Tensor, Tensor, Tensor, Tensor> forward();
  std::vector<Tensor> backward(const Tensor& grad, const Tensor& y, const Tensor& inner, const Tensor& values,
                               const Tensor& statistics);

 private:
  bool keeps() const { return settings_.memory != Memory::recompute; }
  int64_t kinds() const { return int64_t(settings_.primitives.size()); }
  int64_t outer() const { return int64_t(settings_.concat.size()); }
  int64_t inner() const { return nodes_ - inputs_ - outer(); }
  int64_t out_pixels() const { return out_height_ * out_width_; }
  int64_t value_size() const { return storage_ == Storage::bfloat16 ? 2 : int64_t(sizeof(T)); }

  void link();
  void place();
  // Node n among the channels of the output, or of what it leaves out.
  Images node(int64_t n, const Tensor& y, const Tensor& rest) const;
  Images value(int64_t n, const Tensor& y, const Tensor& rest) const;
  void zero(const Images& images, int64_t pixels) const;
  // The values of an edge, which lie from `at` on, if they are kept.
  void use_values(Edge<T>& edge, const Tensor& values, int64_t at);

  Settings settings_;
  std::vector<Tensor> states_;
  Tensor z_, weights_;
  Numbers<T> z_numbers_, weight_numbers_;
  std::vector<int64_t> place_;
  std::vector<Link> links_;
  std::vector<std::unique_ptr<Edge<T>>> edges_;
  int64_t inputs_, nodes_, images_, channels_, height_, width_, out_height_, out_width_;
  ScalarType dtype_;
  int64_t size_;  // bytes of an element of an image
  Storage storage_;
  // Of all edges together: elements of values, doubles of statistics; the most that one edge needs of each memory.
  int64_t values_ = 0, statistics_ = 0, most_values_ = 0, most_gradients_ = 0, most_hidden_ = 0;
};

template <class T>
Cell<T>::Cell(const std::vector<Tensor>& states, const Tensor& z, const Tensor& weights, const Settings& settings,
              Way way)
    : settings_(settings), z_(z), weights_(weights), z_numbers_(z), weight_numbers_(weights),
      inputs_(int64_t(states.size())) {
  STD_TORCH_CHECK(!states.empty() && states[0].dim() == 4 && states[0].numel() > 0,
                  "states: expected (B, C, H, W), not empty");
  const Tensor& x = states[0];
  images_ = x.size(0), channels_ = x.size(1), height_ = x.size(2), width_ = x.size(3);
  out_height_ = settings.reduction ? (height_ + 1) / 2 : height_;
  out_width_ = settings.reduction ? (width_ + 1) / 2 : width_;
  dtype_ = x.scalar_type();
  size_ = dtype_ == ScalarType::BFloat16 ? 2 : int64_t(sizeof(T));
  storage_ = storage_of<T>(dtype_, settings.memory);
  for (const Tensor& state : states) {
    STD_TORCH_CHECK(state.dim() == 4 && state.size(0) == images_ && state.size(1) == channels_ &&
                        state.size(2) == height_ && state.size(3) == width_ && state.scalar_type() == dtype_,
                    "states: expected one shape and dtype");
    states_.push_back(channels_last(state));
  }
  STD_TORCH_CHECK(fits(z.scalar_type(), dtype_) && fits(weights.scalar_type(), dtype_),
                  "z, weights: expected the states' dtype, or float32 beside bfloat16");
  link();
  place();
  edges_.resize(links_.size());
  // Packing the weights is worth several threads.
  torch::stable::parallel_for(0, int64_t(links_.size()), 1, [&](int64_t begin, int64_t end) {
    for (size_t e = size_t(begin); e < size_t(end); ++e) {
      const Link& link = links_[e];
      const bool first = link.from < inputs_;
      const EdgeShape shape{images_, channels_, first ? height_ : out_height_, first ? width_ : out_width_, link.stride};
      std::vector<const T*> own;
      for (int64_t at : link.weights_at) own.push_back(weight_numbers_.get() + at);
      edges_[e] = std::make_unique<Edge<T>>(shape, link.primitives, z_numbers_.get() + link.z_at, own, way);
      if (dtype_ == ScalarType::BFloat16) edges_[e]->plan.image_storage = Storage::bfloat16;
    }
  });
  for (const auto& edge : edges_) {
    values_ += edge->values(), statistics_ += edge->statistics();
    most_values_ = std::max(most_values_, edge->values());
    most_gradients_ = std::max(most_gradients_, edge->plan.groups * edge->plan.weights);
    most_hidden_ = std::max(most_hidden_, edge->plan.second * images_ * edge->image());
  }
}

template <class T>
void Cell<T>::link() {
  const std::vector<int64_t>& chosen = settings_.chosen;
  for (int64_t primitive : settings_.primitives)
    STD_TORCH_CHECK(primitive >= 0 && primitive < kPrimitives, "primitives: expected numbers of known ones");
  STD_TORCH_CHECK(kinds() <= 32 && z_.dim() == 2 && z_.size(0) > 0 && z_.size(1) == kinds(),
                  "z: expected (edges, primitives), at most 32 of these");
  STD_TORCH_CHECK(chosen.empty() || int64_t(chosen.size()) == z_.size(0), "chosen: expected one per edge");
  for (int64_t l : chosen) STD_TORCH_CHECK(l >= 0 && l < kinds(), "chosen: expected numbers below the primitives'");
  int64_t e = 0, taken = 0;
  for (nodes_ = inputs_; e < z_.size(0); ++nodes_) {
    for (int64_t from = 0; from < nodes_; ++from, ++e) {
      STD_TORCH_CHECK(e < z_.size(0), "z: expected the edges of whole nodes");
      Link link{from, nodes_, settings_.reduction && from < inputs_ ? 2 : 1, {}, e * kinds(), {}};
      if (!chosen.empty()) link.z_at += chosen[size_t(e)];
      for (int64_t l = 0; l < kinds(); ++l) {
        const int64_t primitive = settings_.primitives[size_t(l)];
        const bool runs = chosen.empty() || chosen[size_t(e)] == l;
        if (runs) link.primitives.push_back(primitive);
        for (int64_t size : weight_sizes({primitive}, channels_, link.stride)) {
          if (runs) link.weights_at.push_back(taken);
          taken += size;
        }
      }
      links_.push_back(std::move(link));
    }
  }
  STD_TORCH_CHECK(weights_.dim() == 1 && weights_.numel() == taken, "weights: expected those of all edges");
}

template <class T>
void Cell<T>::place() {
  constexpr int64_t kNowhere = -1;
  place_.assign(size_t(nodes_), kNowhere);
  for (size_t i = 0; i < settings_.concat.size(); ++i) {
    const int64_t n = settings_.concat[i];
    STD_TORCH_CHECK(n >= inputs_ && n < nodes_ && place_[size_t(n)] == kNowhere,
                    "concat: expected different computed nodes");
    place_[size_t(n)] = int64_t(i);
  }
  // Those that the output leaves out follow it.
  int64_t next = outer();
  for (int64_t n = inputs_; n < nodes_; ++n)
    if (place_[size_t(n)] == kNowhere) place_[size_t(n)] = next++;
}

template <class T>
Images Cell<T>::node(int64_t n, const Tensor& y, const Tensor& rest) const {
  const int64_t at = place_[size_t(n)];
  const bool out = at < outer();
  char* base = static_cast<char*>(const_cast<void*>((out ? y : rest).const_data_ptr()));
  return {base + (out ? at : at - outer()) * channels_ * size_, (out ? outer() : inner()) * channels_};
}

template <class T>
Images Cell<T>::value(int64_t n, const Tensor& y, const Tensor& rest) const {
  if (n >= inputs_) return node(n, y, rest);
  return {static_cast<char*>(const_cast<void*>(states_[size_t(n)].const_data_ptr())), channels_};
}

template <class T>
void Cell<T>::zero(const Images& images, int64_t pixels) const {
  for (int64_t p = 0; p < pixels; ++p) std::memset(images.base + p * images.pixel * size_, 0, size_t(channels_ * size_));
}

template <class T>
void Cell<T>::use_values(Edge<T>& edge, const Tensor& values, int64_t at) {
  if (keeps()) {
    char* base = static_cast<char*>(const_cast<void*>(values.const_data_ptr()));
    edge.use_values(base + at * value_size(), storage_);
  } else {
    const int64_t size = storage_ == Storage::own ? most_values_ : (most_values_ + 1) / 2;
    edge.use_values(thread_memory<Values, T>(size), storage_, true);
  }
}

template <class T>
std::tuple<Tensor, Tensor, Tensor, Tensor> Cell<T>::forward() {
  const Tensor y = empty_image(images_, outer() * channels_, out_height_, out_width_, dtype_);
  const Tensor rest = empty_image(images_, inner() * channels_, out_height_, out_width_, dtype_);
  const Tensor values = empty({keeps() ? values_ : 0}, dtype_of<T>(storage_));
  const int64_t padded = edges_[0]->plan.padded();
  const Tensor statistics = empty({statistics_ / (2 * padded), 2, padded}, ScalarType::Double);
  double* s = mutable_data<double>(statistics);
  Runner<T> runner(false);
  int64_t v = 0;
  size_t e = 0;
  for (int64_t n = inputs_; n < nodes_; ++n) {
    const Images to = node(n, y, rest);
    bool begun = false;
    for (int64_t from = 0; from < n; ++from, ++e) {
      Edge<T>& edge = *edges_[e];
      Plan<T>& plan = edge.plan;
      if (links_[e].runs()) {
        const Images x = value(from, y, rest);
        plan.x = x.base, plan.x_pixel = x.pixel;
        plan.y = to.base, plan.y_pixel = to.pixel;
        plan.y_addend = begun ? to.base : nullptr, plan.y_addend_pixel = to.pixel;
        use_values(edge, values, v);
        forward_passes(edge, s, [&](Pass<T> pass) { runner(pass, plan); });
        begun = true;
      } else {
        std::memset(s, 0, size_t(edge.statistics()) * sizeof(double));
      }
      v += edge.values();
      s += edge.statistics();
    }
    if (!begun) zero(to, images_ * out_pixels());
  }
  return {y, rest, values, statistics};
}

template <class T>
std::vector<Tensor> Cell<T>::backward(const Tensor& grad_any, const Tensor& y_any, const Tensor& rest_any,
                                      const Tensor& values, const Tensor& statistics) {
  const Tensor grad = channels_last(grad_any), y = channels_last(y_any), rest = channels_last(rest_any);
  const auto is_output = [&](const Tensor& t, int64_t parts) {
    return t.dim() == 4 && t.size(0) == images_ && t.size(1) == parts * channels_ && t.size(2) == out_height_ &&
           t.size(3) == out_width_ && t.scalar_type() == dtype_;
  };
  STD_TORCH_CHECK(is_output(grad, outer()) && is_output(y, outer()) && is_output(rest, inner()) &&
                      values.numel() == (keeps() ? values_ : 0) && values.scalar_type() == dtype_of<T>(storage_) &&
                      values.is_contiguous() && statistics.numel() == statistics_ && statistics.is_contiguous() &&
                      statistics.scalar_type() == ScalarType::Double,
                  "grad, y, inner, values, statistics: expected what the forward pass gave");
  std::vector<Tensor> results;
  for (int64_t n = 0; n < inputs_; ++n) results.push_back(empty_image(images_, channels_, height_, width_, dtype_));
  const Result<T> dz(z_), d_weights(weights_);
  std::memset(dz.get(), 0, size_t(z_.numel()) * sizeof(T));
  std::memset(d_weights.get(), 0, size_t(weights_.numel()) * sizeof(T));

  // The last node's gradient is there. The others are summed up, and begin with their channels of the output's.
  const int64_t image_bytes = images_ * out_pixels() * channels_ * size_;
  struct Sums;
  char* sums = thread_memory<Sums, char>((nodes_ - inputs_ - 1) * image_bytes);
  const auto sum_of = [&](int64_t n) -> Images {
    if (n >= inputs_) return {sums + (n - inputs_) * image_bytes, channels_};
    return {static_cast<char*>(results[size_t(n)].mutable_data_ptr()), channels_};
  };
  std::vector<Images> gradients(static_cast<size_t>(nodes_));
  for (int64_t n : settings_.concat) gradients[size_t(n)] = node(n, grad, grad);
  T* hidden = thread_memory<HiddenGradients, T>(most_hidden_);
  T* partial = thread_memory<WeightGradients, T>(most_gradients_);
  Runner<T> runner(true);
  int64_t v = values_;
  const double* s = data<double>(statistics) + statistics_;
  for (size_t e = links_.size(); e-- > 0;) {
    const Link& link = links_[e];
    Edge<T>& edge = *edges_[e];
    Plan<T>& plan = edge.plan;
    v -= edge.values();
    s -= edge.statistics();
    const Images g = gradients[size_t(link.to)];
    if (!link.runs() || g.base == nullptr) continue;
    const Images x = value(link.from, y, rest), dx = sum_of(link.from);
    Images& before = gradients[size_t(link.from)];
    plan.x = x.base, plan.x_pixel = x.pixel;
    plan.grad = g.base, plan.grad_pixel = g.pixel;
    plan.dx = dx.base, plan.dx_pixel = dx.pixel;
    plan.dx_addend = before.base, plan.dx_addend_pixel = before.pixel;
    before = dx;
    use_values(edge, values, v);
    edge.use_hidden_gradients(hidden);
    plan.weight_gradients = partial;
    const std::vector<double> of_norm = backward_passes(edge, s, [&](Pass<T> pass) { runner(pass, plan); });
    torch::stable::parallel_for(0, plan.weights, 4096,
                                [&](int64_t begin, int64_t end) { merge_gradients(plan, begin, end); });
    for (size_t l = 0; l < link.primitives.size(); ++l) {
      const int n = edge.norm_of(l);
      dz.get()[link.z_at + int64_t(l)] =
          T(edge.is_identity(l) ? edge.identity_gradient() : n < 0 ? 0.0 : of_norm[size_t(n)]);
    }
    std::vector<T*> to;
    for (int64_t at : link.weights_at) to.push_back(d_weights.get() + at);
    edge.unpack(partial, to);
  }
  for (int64_t n = 0; n < inputs_; ++n)
    if (gradients[size_t(n)].base == nullptr) zero(sum_of(n), images_ * height_ * width_);
  results.push_back(dz.finish());
  results.push_back(d_weights.finish());
  return results;
}

// f of the cell, in the type that computes it.
template <class F>
auto with_cell(const std::vector<Tensor>& states, const Tensor& z, const Tensor& weights, const Settings& settings,
               Way way, const F& f) {
  STD_TORCH_CHECK(!states.empty(), "states: expected at least one");
  return with_type(states[0].scalar_type(), [&](auto own) {
    Cell<host::compute_t<decltype(own)>> cell(states, z, weights, settings, way);
    return f(cell);
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> mixed_cell(std::vector<Tensor> states, Tensor z, Tensor weights,
                                                      std::vector<int64_t> primitives, std::vector<int64_t> concat,
                                                      bool reduction, std::vector<int64_t> chosen, int64_t memory) {
  const Settings settings{primitives, concat, reduction, chosen, memory_of(memory)};
  return with_cell(states, z, weights, settings, Way::forward, [](auto& cell) { return cell.forward(); });
}

std::vector<Tensor> mixed_cell_backward(Tensor grad, std::vector<Tensor> states, Tensor z, Tensor weights,
                                        std::vector<int64_t> primitives, std::vector<int64_t> concat, bool reduction,
                                        std::vector<int64_t> chosen, int64_t memory, Tensor y, Tensor inner,
                                        Tensor values, Tensor statistics) {
  const Settings settings{primitives, concat, reduction, chosen, memory_of(memory)};
  return with_cell(states, z, weights, settings, backward_of(settings.memory == Memory::recompute),
                   [&](auto& cell) { return cell.backward(grad, y, inner, values, statistics); });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, mixed_cell);
  BF_REGISTER(library, mixed_cell_backward);
}

}  // namespace base_fast
