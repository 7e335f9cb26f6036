#include "node_sums.h"
#include "registration.h"

namespace base_fast {
namespace {

// What an edge of a path can be, in the order of ops/mixed_cell_path.py.
enum class Step : int64_t { none, skip, average, conv_1, conv_3 };

// One primitive per edge, and where its z and its weight lie among all.
template <class T>
struct Path {
  Tensor z, weights;
  std::vector<Tensor> inputs;
  int64_t nodes;
  std::vector<Term> terms;
  std::vector<int64_t> z_at, weight_at;

  Path(const std::vector<Tensor>& states, const Tensor& any_z, const Tensor& any_weights,
       const std::vector<int64_t>& primitives, const std::vector<int64_t>& chosen);

  NodeSums<T> sums() const { return NodeSums<T>(inputs, nodes, terms); }
};

template <class T>
Path<T>::Path(const std::vector<Tensor>& states, const Tensor& any_z, const Tensor& any_weights,
              const std::vector<int64_t>& primitives, const std::vector<int64_t>& chosen)
    : z(dense(any_z)), weights(dense(any_weights)) {
  STD_TORCH_CHECK(!states.empty() && states[0].dim() == 4 && states[0].numel() > 0,
                  "states: expected (B, C, H, W), not empty");
  const Tensor& x = states[0];
  for (const Tensor& state : states) {
    bool same = state.dim() == 4 && state.scalar_type() == x.scalar_type();
    for (int64_t axis = 0; same && axis < 4; ++axis) same = state.size(axis) == x.size(axis);
    STD_TORCH_CHECK(same, "states: expected one shape and dtype");
    inputs.push_back(channels_last(state));
  }
  const int64_t kinds = int64_t(primitives.size()), channels = x.size(1);
  STD_TORCH_CHECK(z.dim() == 2 && z.size(0) == int64_t(chosen.size()) && z.size(1) == kinds &&
                      z.scalar_type() == x.scalar_type() && weights.scalar_type() == x.scalar_type(),
                  "z, weights: expected (edges, primitives) and the states' dtype; chosen: one per edge");
  const auto kernel_of = [&](int64_t l) -> int64_t {
    STD_TORCH_CHECK(l >= 0 && l < kinds, "chosen: expected numbers below the primitives'");
    const Step step = Step(primitives[size_t(l)]);
    STD_TORCH_CHECK(step >= Step::none && step <= Step::conv_3, "primitives: expected those of a path");
    return step == Step::conv_1 ? 1 : step == Step::conv_3 ? 3 : 0;
  };
  int64_t taken = 0;
  size_t e = 0;
  for (nodes = int64_t(inputs.size()); e < chosen.size(); ++nodes) {
    for (int64_t from = 0; from < nodes; ++from, ++e) {
      STD_TORCH_CHECK(e < chosen.size(), "chosen: expected the edges of whole nodes");
      const int64_t pick = chosen[e], kernel = kernel_of(pick);
      int64_t at = taken;
      for (int64_t l = 0; l < kinds; ++l) {
        if (l == pick) at = taken;
        taken += channels * channels * kernel_of(l) * kernel_of(l);
      }
      const Step step = Step(primitives[size_t(pick)]);
      if (step == Step::none) continue;
      z_at.push_back(int64_t(e) * kinds + pick);
      weight_at.push_back(at);
      terms.push_back({kernel > 0              ? Term::convolution
                       : step == Step::average ? Term::average
                                               : Term::identity,
                       from, nodes, double(data<T>(z)[z_at.back()]), Tensor()});
      if (kernel == 0) continue;
      const std::array<int64_t, 4> sizes{channels, channels, kernel, kernel};
      const std::array<int64_t, 4> strides{channels * kernel * kernel, kernel * kernel, kernel, 1};
      AtenTensorHandle view;  // `at` elements behind where the weights begin
      STD_TORCH_CHECK(at + channels * strides[0] <= weights.numel(), "weights: expected those of all edges");
      STABLE_TORCH_ERROR_CODE_CHECK(
          aoti_torch__reinterpret_tensor(weights.get(), 4, sizes.data(), strides.data(), at, &view));
      terms.back().weight = Tensor(view);
    }
  }
  STD_TORCH_CHECK(weights.dim() == 1 && weights.numel() == taken, "weights: expected those of all edges");
}

template <class F>
std::vector<Tensor> with_floats(const std::vector<Tensor>& states, const F& f) {
  STD_TORCH_CHECK(!states.empty(), "states: expected at least one");
  if (states[0].scalar_type() == ScalarType::Double) return f(double{});
  STD_TORCH_CHECK(states[0].scalar_type() == ScalarType::Float, "states: expected float32 or float64");
  return f(float{});
}

std::vector<Tensor> mixed_cell_path(std::vector<Tensor> states, Tensor z, Tensor weights,
                                    std::vector<int64_t> primitives, std::vector<int64_t> chosen) {
  return with_floats(
      states, [&](auto type) { return Path<decltype(type)>(states, z, weights, primitives, chosen).sums().forward(); });
}

std::vector<Tensor> mixed_cell_path_backward(Tensor grad, std::vector<Tensor> states, Tensor z, Tensor weights,
                                             std::vector<int64_t> primitives, std::vector<int64_t> chosen, bool of_z,
                                             std::vector<Tensor> kept) {
  return with_floats(states, [&](auto type) {
    using T = decltype(type);
    const Path<T> path(states, z, weights, primitives, chosen);
    const Tensor& like = path.inputs[0];
    bool same = grad.dim() == 4 && grad.scalar_type() == like.scalar_type();
    for (int64_t axis = 0; same && axis < 4; ++axis) same = grad.size(axis) == like.size(axis);
    STD_TORCH_CHECK(same, "grad: expected the states' shape and dtype");
    auto [results, of_weights, products] = path.sums().backward(channels_last(grad), kept, of_z);
    const Tensor dz = dense_like(path.z), dw = dense_like(path.weights);
    std::memset(dz.mutable_data_ptr(), 0, size_t(dz.numel()) * sizeof(T));
    std::memset(dw.mutable_data_ptr(), 0, size_t(dw.numel()) * sizeof(T));
    for (size_t t = 0; t < path.terms.size(); ++t) {
      if (of_z) mutable_data<T>(dz)[path.z_at[t]] = T(products[t]);
      if (path.terms[t].kind != Term::convolution) continue;
      const Tensor& own = of_weights[t];
      std::memcpy(mutable_data<T>(dw) + path.weight_at[t], own.const_data_ptr(), size_t(own.numel()) * sizeof(T));
    }
    results.push_back(dz), results.push_back(dw);
    return results;
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, mixed_cell_path);
  BF_REGISTER(library, mixed_cell_path_backward);
}

}  // namespace base_fast
