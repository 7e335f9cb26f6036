#include "../edge/mixed_op.h"

#include "../edge/passes.h"
#include "mixed_op_tensors.h"
#include "threads.h"
#include "registration.h"

namespace base_fast {
namespace {

// NHWC images, so many elements from one pixel to the next: a node's are some channels of the cell's output.
struct Images {
  char* base = nullptr;
  int64_t pixel = 0;
};

// One edge: the node that it leads to, the primitives that run, and where its numbers lie among those of the cell.
struct Link {
  int64_t to;
  std::vector<int64_t> primitives;
  int64_t z_at;
  std::vector<int64_t> weights_at;
};

struct Settings {
  std::vector<int64_t> primitives, concat;
  bool reduction;
  std::vector<int64_t> chosen;
  Memory memory;
};

// Nodes are numbered, inputs first; every computed one has an edge from each node before it. The edges that leave a
// node run together: they read its image once, and its pools are the same for all of them.
template <class T>
class Cell {
 public:
  Cell(const std::vector<Tensor>& states, const Tensor& z, const Tensor& weights, const Settings& settings,
       Direction direction);

  std::tuple<Tensor, Tensor, Tensor, Tensor> forward();
  std::vector<Tensor> backward(const Tensor& grad, const Tensor& y, const Tensor& hidden, const Tensor& values,
                               const Tensor& statistics);

 private:
  bool keeps() const { return settings_.memory != Memory::recompute; }
  int64_t kinds() const { return int64_t(settings_.primitives.size()); }
  int64_t output_nodes() const { return int64_t(settings_.concat.size()); }
  int64_t hidden_nodes() const { return nodes_ - inputs_ - output_nodes(); }
  int64_t out_pixels() const { return out_height_ * out_width_; }
  int64_t padded_channels() const { return (channels_ + kBlock - 1) / kBlock * kBlock; }
  int64_t value_size() const { return storage_ == Storage::bfloat16 ? 2 : int64_t(sizeof(T)); }

  void link();
  void drop_idle();
  void place();
  // Node n among the channels of the output, or of what it leaves out.
  Images node(int64_t n, const Tensor& y, const Tensor& hidden) const;
  Images value(int64_t n, const Tensor& y, const Tensor& hidden) const;
  void zero(const Images& images, int64_t pixels) const;
  // The values of a edges, which lie from `at` on, if they are kept.
  void use_values(EdgeGroup<T>& edges, const Tensor& values, int64_t at);

  Settings settings_;
  std::vector<Tensor> states_;
  Tensor z_, weights_;
  Numbers<T> z_numbers_, weight_numbers_;
  std::vector<int64_t> place_;
  std::vector<std::vector<Link>> links_;  // that leave each node
  std::vector<std::unique_ptr<EdgeGroup<T>>> edge_groups_;
  int64_t inputs_, nodes_, images_, channels_, height_, width_, out_height_, out_width_;
  bool has_idle_ = false;  // weights that nothing reads
  ScalarType dtype_;
  int64_t size_;  // bytes of an element of an image
  Storage storage_;
  // Of all edges together, whether they run or not: elements of kept values, doubles of statistics; the most that the
  // edges of one node need of each memory.
  int64_t values_ = 0, statistics_ = 0, most_others_ = 0, most_gradients_ = 0, most_first_gradients_ = 0;
};

template <class T>
Cell<T>::Cell(const std::vector<Tensor>& states, const Tensor& z, const Tensor& weights, const Settings& settings,
              Direction direction)
    : settings_(settings),
      z_(z),
      weights_(weights),
      z_numbers_(z),
      weight_numbers_(weights),
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
  drop_idle();
  has_idle_ |= !settings.chosen.empty();
  edge_groups_.resize(links_.size());
  struct Packed {
    EdgeGroup<T>* edges;
    int64_t stage;
  };
  std::vector<Packed> stages;
  int64_t grain = 1;
  for (int64_t n = 0; n < nodes_; ++n) {
    const bool first = n < inputs_;
    std::vector<Edge<T>> leaving;
    for (const Link& link : links_[size_t(n)]) {
      leaving.push_back({link.primitives, z_numbers_.get() + link.z_at, {}});
      for (int64_t at : link.weights_at) leaving.back().weights.push_back(weight_numbers_.get() + at);
    }
    if (leaving.empty()) continue;
    const EdgeShape shape{images_, channels_, first ? height_ : out_height_, first ? width_ : out_width_,
                          first && settings.reduction ? 2 : 1};
    edge_groups_[size_t(n)] = std::make_unique<EdgeGroup<T>>(shape, leaving, !keeps());
    EdgeGroup<T>& edges = *edge_groups_[size_t(n)];
    if (dtype_ == ScalarType::BFloat16) edges.plan.image_storage = Storage::bfloat16;
    most_others_ = std::max(most_others_, edges.other_values());
    most_gradients_ = std::max(most_gradients_, edges.plan.groups * edges.plan.weights);
    most_first_gradients_ = std::max(most_first_gradients_, edges.plan.second * images_ * edges.image());
    for (int64_t s = 0; s < edges.stages(); ++s) stages.push_back({&edges, s});
    grain = edges.grain();
  }
  parallel_each(int64_t(stages.size()), grain, [&](int64_t i) {
    const Packed& packed = stages[size_t(i)];
    packed.edges->pack(direction, packed.stage);
  });
}

template <class T>
void Cell<T>::link() {
  const std::vector<int64_t>& chosen = settings_.chosen;
  STD_TORCH_CHECK(kinds() <= kMostPrimitives && z_.dim() == 2 && z_.size(0) > 0 && z_.size(1) == kinds(),
                  "z: expected (edges, primitives), at most ", kMostPrimitives, " of these");
  STD_TORCH_CHECK(chosen.empty() || int64_t(chosen.size()) == z_.size(0), "chosen: expected one per edge");
  for (int64_t l : chosen) STD_TORCH_CHECK(l >= 0 && l < kinds(), "chosen: expected numbers below the primitives'");
  links_.reserve(size_t(z_.size(0)));
  links_.resize(size_t(inputs_));
  int64_t e = 0, taken = 0;
  for (nodes_ = inputs_; e < z_.size(0); ++nodes_) {
    for (int64_t from = 0; from < nodes_; ++from, ++e) {
      STD_TORCH_CHECK(e < z_.size(0), "z: expected the edges of whole nodes");
      const int stride = settings_.reduction && from < inputs_ ? 2 : 1;
      Link link{nodes_, {}, e * kinds(), {}};
      link.primitives.reserve(size_t(kinds())), link.weights_at.reserve(size_t(2 * kinds()));
      if (!chosen.empty()) link.z_at += chosen[size_t(e)];
      int64_t stages = 0;
      for (int64_t l = 0; l < kinds(); ++l) {
        const int64_t primitive = settings_.primitives[size_t(l)];
        const bool runs = chosen.empty() || chosen[size_t(e)] == l;
        if (runs) link.primitives.push_back(primitive);
        const WeightSizes sizes = weight_sizes(primitive, channels_, stride);
        if (runs) stages += sizes.stages();
        for (int64_t size : sizes) {
          if (runs) link.weights_at.push_back(taken);
          taken += size;
        }
      }
      if (keeps()) values_ += kept_stages(link.primitives, stride) * images_ * padded_channels() * out_pixels();
      statistics_ += (stages + 2) * 2 * padded_channels();
      links_[size_t(from)].push_back(std::move(link));
    }
    links_.emplace_back();
  }
  STD_TORCH_CHECK(weights_.dim() == 1 && weights_.numel() == taken, "weights: expected those of all edges");
}

// Keeps the edges that add something to what the output depends on.
template <class T>
void Cell<T>::drop_idle() {
  std::vector<bool> counts(size_t(nodes_), false);
  for (int64_t n : settings_.concat) counts[size_t(n)] = true;
  for (size_t n = size_t(nodes_); n-- > 0;) {
    std::vector<Link> kept;
    for (Link& link : links_[n]) {
      bool runs = false;
      for (int64_t primitive : link.primitives) runs |= Primitive(primitive) != Primitive::none;
      if (runs && counts[size_t(link.to)]) kept.push_back(std::move(link));
    }
    has_idle_ |= kept.size() < links_[n].size();
    if (!kept.empty()) counts[n] = true;
    links_[n] = std::move(kept);
  }
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
  int64_t next = output_nodes();
  for (int64_t n = inputs_; n < nodes_; ++n)
    if (place_[size_t(n)] == kNowhere) place_[size_t(n)] = next++;
}

template <class T>
Images Cell<T>::node(int64_t n, const Tensor& y, const Tensor& hidden) const {
  const int64_t at = place_[size_t(n)];
  const bool out = at < output_nodes();
  char* base = static_cast<char*>(const_cast<void*>((out ? y : hidden).const_data_ptr()));
  return {base + (out ? at : at - output_nodes()) * channels_ * size_,
          (out ? output_nodes() : hidden_nodes()) * channels_};
}

template <class T>
Images Cell<T>::value(int64_t n, const Tensor& y, const Tensor& hidden) const {
  if (n >= inputs_) return node(n, y, hidden);
  return {static_cast<char*>(const_cast<void*>(states_[size_t(n)].const_data_ptr())), channels_};
}

template <class T>
void Cell<T>::zero(const Images& images, int64_t pixels) const {
  for (int64_t p = 0; p < pixels; ++p)
    std::memset(images.base + p * images.pixel * size_, 0, size_t(channels_ * size_));
}

template <class T>
void Cell<T>::use_values(EdgeGroup<T>& edges, const Tensor& values, int64_t at) {
  char* kept = static_cast<char*>(const_cast<void*>(values.const_data_ptr()));
  const int64_t others = storage_ == Storage::own ? most_others_ : (most_others_ + 1) / 2;
  edges.use_values(kept + at * value_size(), thread_memory<Values, T>(others), storage_);
}

template <class T>
std::tuple<Tensor, Tensor, Tensor, Tensor> Cell<T>::forward() {
  const Tensor y = empty_image(images_, output_nodes() * channels_, out_height_, out_width_, dtype_);
  const Tensor hidden = empty_image(images_, hidden_nodes() * channels_, out_height_, out_width_, dtype_);
  const Tensor values = empty({values_}, dtype_of<T>(storage_));
  const Tensor statistics = empty({statistics_ / (2 * padded_channels()), 2, padded_channels()}, ScalarType::Double);
  double *s = mutable_data<double>(statistics), *const end = s + statistics_;
  Runner<Plan<T>, T> runner(BF_KERNEL(mixed_op_scratch<T>));
  int64_t v = 0;
  std::vector<bool> begun(size_t(nodes_), false);
  for (int64_t n = 0; n < nodes_; ++n) {
    // Every edge into it has run.
    if (n >= inputs_ && !begun[size_t(n)]) zero(node(n, y, hidden), images_ * out_pixels());
    if (edge_groups_[size_t(n)] == nullptr) continue;
    EdgeGroup<T>& edges = *edge_groups_[size_t(n)];
    Plan<T>& plan = edges.plan;
    const Images x = value(n, y, hidden);
    plan.x = x.base, plan.x_pixel = x.pixel;
    for (int t = 0; t < plan.count; ++t) {
      const size_t to = size_t(links_[size_t(n)][size_t(t)].to);
      const Images sum = node(int64_t(to), y, hidden);
      EdgeOutput<T>& output = plan.outputs[t];
      output.y = sum.base, output.y_addend = begun[to] ? sum.base : nullptr;
      output.y_pixel = output.y_addend_pixel = sum.pixel;
      begun[to] = true;
    }
    use_values(edges, values, v);
    forward_passes(edges, s, [&](auto pass) { runner(pass, plan); });
    v += edges.kept_values();
    s += edges.statistics();
  }
  // Those of edges that do not run.
  std::memset(s, 0, size_t(end - s) * sizeof(double));
  return {y, hidden, values, statistics};
}

template <class T>
std::vector<Tensor> Cell<T>::backward(const Tensor& grad_any, const Tensor& y_any, const Tensor& hidden_any,
                                      const Tensor& values, const Tensor& statistics) {
  const Tensor grad = channels_last(grad_any), y = channels_last(y_any), hidden = channels_last(hidden_any);
  const auto is_output = [&](const Tensor& t, int64_t parts) {
    return t.dim() == 4 && t.size(0) == images_ && t.size(1) == parts * channels_ && t.size(2) == out_height_ &&
           t.size(3) == out_width_ && t.scalar_type() == dtype_;
  };
  STD_TORCH_CHECK(is_output(grad, output_nodes()) && is_output(y, output_nodes()) &&
                      is_output(hidden, hidden_nodes()) && values.numel() == values_ &&
                      values.scalar_type() == dtype_of<T>(storage_) && values.is_contiguous() &&
                      statistics.numel() == statistics_ && statistics.is_contiguous() &&
                      statistics.scalar_type() == ScalarType::Double,
                  "grad, y, hidden, values, statistics: expected what the forward pass gave");
  std::vector<Tensor> results;
  for (int64_t n = 0; n < inputs_; ++n) results.push_back(empty_image(images_, channels_, height_, width_, dtype_));
  const Result<T> dz(z_), d_weights(weights_);
  std::memset(dz.get(), 0, size_t(z_.numel()) * sizeof(T));
  if (has_idle_) {
    parallel(weights_.numel(), [&](int64_t begin, int64_t end) {
      std::memset(d_weights.get() + begin, 0, size_t(end - begin) * sizeof(T));
    });
  }

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
  T* first_gradients = thread_memory<FirstStageGradients, T>(most_first_gradients_);
  T* partial = thread_memory<WeightGradients, T>(most_gradients_);
  Runner<Plan<T>, T> runner(BF_KERNEL(mixed_op_scratch<T>), true);
  int64_t v = 0, of_all = 0;
  for (const auto& edges : edge_groups_)
    if (edges != nullptr) v += edges->kept_values(), of_all += edges->statistics();
  const double* s = data<double>(statistics) + of_all;
  for (int64_t n = nodes_; n-- > 0;) {
    if (edge_groups_[size_t(n)] == nullptr) continue;
    const std::vector<Link>& links = links_[size_t(n)];
    EdgeGroup<T>& edges = *edge_groups_[size_t(n)];
    Plan<T>& plan = edges.plan;
    v -= edges.kept_values();
    s -= edges.statistics();
    const Images x = value(n, y, hidden), dx = sum_of(n);
    Images& before = gradients[size_t(n)];
    plan.x = x.base, plan.x_pixel = x.pixel;
    for (int t = 0; t < plan.count; ++t) {
      const Images& g = gradients[size_t(links[size_t(t)].to)];
      plan.outputs[t].grad = g.base, plan.outputs[t].grad_pixel = g.pixel;
    }
    plan.dx = dx.base, plan.dx_pixel = dx.pixel;
    plan.dx_addend = before.base, plan.dx_addend_pixel = before.pixel;
    before = dx;
    use_values(edges, values, v);
    edges.use_first_stage_gradients(first_gradients);
    plan.weight_gradients = partial;
    const std::vector<double> of_norm = backward_passes(edges, s, [&](auto pass) { runner(pass, plan); });
    parallel_merge(plan.weight_gradients, plan.groups, plan.weights);
    std::vector<T*> to;
    for (size_t t = 0; t < links.size(); ++t) {
      edges.z_gradients(t, of_norm, dz.get() + links[t].z_at);
      for (int64_t at : links[t].weights_at) to.push_back(d_weights.get() + at);
    }
    parallel_each(edges.stages(), edges.grain(), [&](int64_t stage) { edges.unpack(stage, to); });
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
               Direction direction, const F& f) {
  STD_TORCH_CHECK(!states.empty(), "states: expected at least one");
  return with_type(states[0].scalar_type(), [&](auto own) {
    Cell<compute_t<decltype(own)>> cell(states, z, weights, settings, direction);
    return f(cell);
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> mixed_cell(std::vector<Tensor> states, Tensor z, Tensor weights,
                                                      std::vector<int64_t> primitives, std::vector<int64_t> concat,
                                                      bool reduction, std::vector<int64_t> chosen, int64_t memory) {
  const Settings settings{primitives, concat, reduction, chosen, memory_of(memory)};
  return with_cell(states, z, weights, settings, Direction::forward, [](auto& cell) { return cell.forward(); });
}

std::vector<Tensor> mixed_cell_backward(Tensor grad, std::vector<Tensor> states, Tensor z, Tensor weights,
                                        std::vector<int64_t> primitives, std::vector<int64_t> concat, bool reduction,
                                        std::vector<int64_t> chosen, int64_t memory, Tensor y, Tensor hidden,
                                        Tensor values, Tensor statistics) {
  const Settings settings{primitives, concat, reduction, chosen, memory_of(memory)};
  return with_cell(states, z, weights, settings, Direction::backward,
                   [&](auto& cell) { return cell.backward(grad, y, hidden, values, statistics); });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, mixed_cell);
  BF_REGISTER(library, mixed_cell_backward);
}

}  // namespace base_fast
