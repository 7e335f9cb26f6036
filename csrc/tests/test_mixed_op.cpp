// Gradients of mixed edges against finite differences in double, float against double, and several threads against one.
// Scratch memory is exactly as large as the kernels ask for, so that an address sanitizer sees what they write; threads
// take the groups of images one by one, so that a thread sanitizer sees what they share.
#include "../cpu/edge/mixed_op.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <thread>

#include "../cpu/edge/passes.h"
#include "check.h"
#include "isa_or_skip.h"

#include "../core/bfloat16.h"

using namespace base_fast;

namespace {

double number(int64_t i) { return std::sin(12.9898 * double(i) + 0.5) * 1.3; }

// Edges that read the same x; y holds what the first of them gives, then the second, and so on.
template <class T>
struct Run {
  EdgeShape shape;
  std::vector<std::vector<int64_t>> edges;  // their primitives
  std::vector<T> x, z;
  std::vector<std::vector<T>> weights;
  std::vector<T> y, dx;
  std::vector<T> dz;
  std::vector<std::vector<T>> d_weights;
  int threads = 1;
  // Channels beside the edge's own that the pixels of all images have; y and dx are then added to what is there.
  int64_t beside = 0;
  // Images rounded to bfloat16.
  Storage images = Storage::own;
  // Values rounded to bfloat16, and computed again for backward.
  Storage storage = Storage::own;
  bool recompute = false;
  static constexpr T kBefore = T(0.375), kBeside = T(7);

  Run(const EdgeShape& s, const std::vector<std::vector<int64_t>>& e) : shape(s), edges(e) {
    int64_t seed = 0;
    const auto fill = [&](std::vector<T>& to, int64_t count) {
      for (int64_t i = 0; i < count; ++i) to.push_back(T(number(++seed)));
    };
    fill(x, s.images * s.channels * s.height * s.width);
    for (const auto& primitives : edges) fill(z, int64_t(primitives.size()));
    for (const auto& primitives : edges) {
      for (const int64_t count : weight_sizes(primitives, s.channels, s.stride)) {
        weights.emplace_back();
        fill(weights.back(), count);
      }
    }
  }

  using Pass = void (*)(const Plan<T>&, int64_t, const Workspace<T>&);
  void run_groups(const Plan<T>& plan, Pass pass, bool last_first) const {
    std::atomic<int64_t> next{0};
    const auto work = [&] {
      const Buffer<T> scratch(BF_KERNEL(mixed_op_scratch<T>)(plan));
      Workspace<T> work{scratch.get(), true, -1};
      for (int64_t i = next++; i < plan.groups; i = next++, work.fresh = false)
        pass(plan, last_first ? plan.groups - 1 - i : i, work);
    };
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
  }

  // y, then the gradients of Σ number(i)·y_i.
  void operator()() {
    std::vector<Edge<T>> own;
    const T* of_z = z.data();
    size_t next = 0;
    for (const auto& primitives : edges) {
      own.push_back({primitives, of_z, {}});
      of_z += primitives.size();
      for (size_t i = 0; i < weight_sizes(primitives, shape.channels, shape.stride).size(); ++i)
        own.back().weights.push_back(weights[next++].data());
    }
    const int64_t count = int64_t(edges.size());
    EdgeGroup<T> group(shape, own, false);
    for (int64_t s = 0; s < group.stages(); ++s) group.pack(Direction::forward, s);
    Plan<T>& plan = group.plan;
    const auto run = [&](Pass pass) { run_groups(plan, pass, false); };
    const int64_t pixel = shape.channels + beside, of_edge = shape.images * plan.out_pixels() * pixel;
    const int64_t outputs = count * shape.images * shape.channels * plan.out_pixels();
    std::vector<T> grad;
    for (int64_t i = 0; i < outputs; ++i) grad.push_back(T(number(7 * i)));
    const std::vector<T> wide_x = wider(x), wide_grad = wider(grad);
    std::vector<T> wide_y = wider(std::vector<T>(size_t(outputs), kBefore));
    std::vector<T> wide_dx = wider(std::vector<T>(x.size(), kBefore));
    EdgeGroup<T> back(shape, own, recompute);
    const Buffer<T> values(group.kept_values()), before(group.other_values()), again(back.other_values());
    const Buffer<T> hidden(plan.second * shape.images * group.image());
    std::vector<double> statistics(size_t(group.statistics()), 0.0);
    Narrow narrow_x(wide_x), narrow_y(wide_y), narrow_grad(wide_grad), narrow_dx(wide_dx);
    const bool narrow = images == Storage::bfloat16;
    const auto one_of = [&](Narrow& few, const T* all, int64_t at = 0) -> void* {
      return narrow ? static_cast<void*>(few.data() + at) : const_cast<T*>(all + at);
    };
    plan.x = one_of(narrow_x, wide_x.data());
    plan.image_storage = images;
    plan.x_pixel = pixel;
    for (int64_t t = 0; t < count; ++t) {
      EdgeOutput<T>& output = plan.outputs[t];
      output.y = one_of(narrow_y, wide_y.data(), t * of_edge);
      output.y_pixel = output.y_addend_pixel = pixel;
      if (beside > 0) output.y_addend = output.y;
    }
    group.use_values(values.get(), before.get(), storage);
    forward_passes(group, statistics.data(), run);
    for (int64_t s = 0; s < back.stages(); ++s) back.pack(Direction::backward, s);
    const Buffer<T> gradients(plan.groups * plan.weights);
    back.plan.x = plan.x, back.plan.dx = one_of(narrow_dx, wide_dx.data());
    back.plan.image_storage = images;
    back.plan.x_pixel = back.plan.dx_pixel = back.plan.dx_addend_pixel = pixel;
    for (int64_t t = 0; t < count; ++t) {
      back.plan.outputs[t].grad = one_of(narrow_grad, wide_grad.data(), t * of_edge);
      back.plan.outputs[t].grad_pixel = pixel;
    }
    if (beside > 0) back.plan.dx_addend = back.plan.dx;
    back.plan.weight_gradients = gradients.get();
    back.use_values(values.get(), again.get(), storage);
    back.use_first_stage_gradients(hidden.get());
    const auto run_back = [&](Pass pass) { run_groups(back.plan, pass, true); };
    const std::vector<double> of_norm = backward_passes(back, statistics.data(), run_back);
    merge_groups(gradients.get(), back.plan.groups, back.plan.weights, 0, back.plan.weights);
    dz.assign(z.size(), T(0));
    T* to_z = dz.data();
    for (size_t e = 0; e < edges.size(); to_z += edges[e++].size()) back.z_gradients(e, of_norm, to_z);
    d_weights.clear();
    std::vector<T*> to;
    for (const auto& w : weights) d_weights.emplace_back(w.size());
    for (auto& w : d_weights) to.push_back(w.data());
    for (int64_t s = 0; s < back.stages(); ++s) back.unpack(s, to);
    if (narrow) narrow_y.widen(wide_y), narrow_dx.widen(wide_dx);
    y = own_channels(wide_y);
    dx = own_channels(wide_dx);
  }

  // The same numbers as bfloat16.
  struct Narrow : std::vector<bfloat16> {
    explicit Narrow(const std::vector<T>& wide) {
      for (const T value : wide) this->push_back(host::from_float<bfloat16>(float(value)));
    }
    void widen(std::vector<T>& to) const {
      for (size_t i = 0; i < to.size(); ++i) to[i] = T(host::to_float((*this)[i]));
    }
  };

  // An image as some of the channels of a wider one, whose others hold `kBeside`.
  std::vector<T> wider(const std::vector<T>& image) const {
    std::vector<T> wide;
    for (size_t i = 0; i < image.size(); ++i) {
      wide.push_back(image[i]);
      if ((i + 1) % size_t(shape.channels) == 0) wide.insert(wide.end(), size_t(beside), kBeside);
    }
    return wide;
  }
  std::vector<T> own_channels(const std::vector<T>& wide) const {
    std::vector<T> image;
    for (size_t i = 0; i < wide.size(); ++i) {
      const bool is_own = int64_t(i) % (shape.channels + beside) < shape.channels;
      if (is_own) image.push_back(wide[i]);
      CHECK(is_own || wide[i] == kBeside);
    }
    return image;
  }

  double loss() const {
    double total = 0.0;
    for (size_t i = 0; i < y.size(); ++i) total += number(7 * int64_t(i)) * double(y[i]);
    return total;
  }
};

using Edges = std::vector<std::vector<int64_t>>;

// The derivative along one direction in all inputs.
void check_gradients(const EdgeShape& shape, const Edges& edges) {
  Run<double> at(shape, edges), above(shape, edges), below(shape, edges);
  at();
  double expected = 0.0, size = 0.0;
  int64_t seed = 1000;
  constexpr double kStep = 1e-7;
  const auto move = [&](double& up, double& down, double gradient) {
    const double direction = number(++seed);
    up += kStep * direction, down -= kStep * direction;
    expected += gradient * direction;
    size += std::fabs(gradient * direction);
  };
  for (size_t i = 0; i < at.x.size(); ++i) move(above.x[i], below.x[i], at.dx[i]);
  for (size_t i = 0; i < at.z.size(); ++i) move(above.z[i], below.z[i], at.dz[i]);
  for (size_t w = 0; w < at.weights.size(); ++w) {
    for (size_t i = 0; i < at.weights[w].size(); ++i)
      move(above.weights[w][i], below.weights[w][i], at.d_weights[w][i]);
  }
  above();
  below();
  const double found = (above.loss() - below.loss()) / (2.0 * kStep);
  CHECK(std::fabs(found - expected) <= 1e-5 * (size + 1.0));

  Run<float> single(shape, edges);
  single();
  double largest = 0.0, error = 0.0;
  for (size_t i = 0; i < at.y.size(); ++i) {
    largest = std::fmax(largest, std::fabs(at.y[i]));
    error = std::fmax(error, std::fabs(at.y[i] - double(single.y[i])));
  }
  CHECK(error <= 1e-4 * largest);
  for (const float d : single.dx) CHECK(std::isfinite(d));
}

// What is computed again for backward is what it would have found.
void check_memory(const EdgeShape& shape, const Edges& edges) {
  Run<float> exact(shape, edges);
  exact();
  for (const Storage storage : {Storage::own, Storage::bfloat16}) {
    Run<float> stored(shape, edges), computed(shape, edges);
    stored.storage = computed.storage = storage;
    computed.recompute = true;
    stored();
    computed();
    CHECK(stored.y == computed.y && stored.dx == computed.dx && stored.dz == computed.dz &&
          stored.d_weights == computed.d_weights);
    double largest = 0.0, error = 0.0;
    for (size_t i = 0; i < exact.y.size(); ++i) {
      largest = std::fmax(largest, std::fabs(double(exact.y[i])));
      error = std::fmax(error, std::fabs(double(exact.y[i]) - double(stored.y[i])));
    }
    // bfloat16 has 8 bits; two stages of them follow one another.
    CHECK(storage == Storage::own ? error == 0.0 : error > 0.0 && error <= 0.05 * largest);
  }
}

// Images of bfloat16: several blocks of channels are multiplied by the matrix unit, where there is one.
void check_narrow_images(const EdgeShape& shape, const Edges& edges) {
  Run<float> wide(shape, edges), narrow(shape, edges), several(shape, edges);
  narrow.images = narrow.storage = several.images = several.storage = Storage::bfloat16;
  several.threads = 3;
  wide();
  narrow();
  several();
  CHECK(narrow.y == several.y && narrow.dx == several.dx && narrow.d_weights == several.d_weights);
  double total = 0.0, error = 0.0;
  for (size_t i = 0; i < wide.y.size(); ++i) {
    total += double(wide.y[i]) * double(wide.y[i]);
    error += (double(wide.y[i]) - double(narrow.y[i])) * (double(wide.y[i]) - double(narrow.y[i]));
  }
  CHECK(error > 0.0 && error <= 0.05 * 0.05 * total);
  for (const float d : narrow.dx) CHECK(std::isfinite(d));
}

// Slices of wider images give the bits that images of their own give.
void check_slices(const EdgeShape& shape, const Edges& edges) {
  Run<float> dense(shape, edges), slice(shape, edges);
  slice.beside = 3;
  dense();
  slice();
  for (auto* all : {&dense.y, &dense.dx}) {
    for (float& value : *all) value += Run<float>::kBefore;
  }
  CHECK(dense.y == slice.y && dense.dx == slice.dx && dense.dz == slice.dz && dense.d_weights == slice.d_weights);
}

// Threads change no bit.
void check_threads(const EdgeShape& shape, const Edges& edges) {
  Run<float> alone(shape, edges), several(shape, edges);
  several.threads = 3;
  alone();
  several();
  CHECK(alone.y == several.y && alone.dx == several.dx && alone.dz == several.dz);
  CHECK(alone.d_weights == several.d_weights);
}

}  // namespace

int main() {
  BF_ISA_OR_SKIP();
  const std::vector<int64_t> all = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  // As a hard sample's: some pools, some identities, and none for the first edge.
  const Edges three = {all, {1, 3, 7, 4}, {4, 2, 3}}, hard = {{4}, {1}, {3}, {2}, {0}}, pools = {{0}, {2}, {1}, {2}};
  for (const int stride : {1, 2}) {
    check_threads({13, 17, 8, 9, stride}, {all});
    check_threads({9, 17, 6, 9, stride}, three);
  }
  for (const int stride : {1, 2}) {
    for (const int64_t channels : {3, 17, 33, 48}) {
      check_narrow_images({3, channels, 7, 20, stride}, {all});
      check_narrow_images({2, channels, 5, 37, stride}, {{1, 3, 5, 8}});
    }
    check_narrow_images({2, 17, 5, 7, stride}, three);
  }
  for (const int stride : {1, 2}) {
    for (const EdgeShape& shape :
         {EdgeShape{3, 3, 6, 7, stride}, EdgeShape{2, 16, 5, 9, stride}, EdgeShape{2, 17, 1, 4, stride},
          EdgeShape{5, 4, 3, 1, stride}, EdgeShape{2, 33, 4, 20, stride}, EdgeShape{1, 48, 3, 35, stride}}) {
      for (const Edges& edges : {Edges{all}, three, hard, pools}) {
        check_gradients(shape, edges);
        check_slices(shape, edges);
      }
      check_slices(shape, {{1, 3}});
      check_memory(shape, {all});
      check_memory(shape, three);
      for (const int64_t one : all) check_gradients(shape, {{one, 0}});
    }
  }
  return failures();
}
