#define BF_DECLARATIONS "mixed_op.h"
#include "declare.h"

#include "mixed_op_passes.h"
#include "registration.h"
#include "tensor.h"

namespace base_fast {
namespace {

// Scratch memory of one thread. It grows to what the largest edge needs and stays, as fresh memory would cost a page
// fault for every 4 KiB of it in every pass.
template <class T>
T* scratch_of(int64_t count) {
  thread_local Buffer<T> buffer;
  thread_local int64_t size = 0;
  if (count > size) {
    buffer = Buffer<T>(count);
    size = count;
  }
  return buffer.get();
}

template <class T>
using Pass = void (*)(const Plan<T>&, int64_t, T*);

template <class T>
void run(Pass<T> pass, const Edge<T>& edge) {
  const int64_t size = BF_KERNEL(mixed_op_scratch<T>)(edge.plan);
  torch::stable::parallel_for(0, edge.plan.groups, 1, [&](int64_t begin, int64_t end) {
    T* scratch = scratch_of<T>(size);
    for (int64_t group = begin; group < end; ++group) pass(edge.plan, group, scratch);
  });
}

constexpr auto kChannelsLast = torch::headeronly::MemoryFormat::ChannelsLast;

Tensor channels_last(const Tensor& x) { return torch::stable::contiguous(x, kChannelsLast); }

Tensor empty_image(int64_t b, int64_t c, int64_t h, int64_t w, ScalarType dtype) {
  return torch::stable::empty({b, c, h, w}, dtype, std::nullopt,
                              torch::stable::Device(torch::headeronly::DeviceType::CPU), std::nullopt, kChannelsLast);
}

// An edge with dense copies of its weights, where they were not dense.
template <class T>
struct Call {
  Call(const Tensor& x, const Tensor& z, const std::vector<Tensor>& weights, const std::vector<int64_t>& primitives,
       int64_t stride)
      : dense_z(dense(z)),
        held(dense_all(weights)),
        edge(checked(x, z, weights, primitives, stride), primitives, data<T>(dense_z), pointers()) {}

  static EdgeShape checked(const Tensor& x, const Tensor& z, const std::vector<Tensor>& weights,
                           const std::vector<int64_t>& primitives, int64_t stride) {
    STD_TORCH_CHECK(x.dim() == 4 && x.numel() > 0, "x: expected (B, C, H, W), not empty");
    STD_TORCH_CHECK(stride == 1 || stride == 2, "stride: expected 1 or 2");
    STD_TORCH_CHECK(primitives.size() <= 32, "primitives: expected at most 32");
    for (int64_t primitive : primitives) {
      STD_TORCH_CHECK(primitive >= 0 && primitive < kPrimitives, "primitives: expected numbers of known ones");
    }
    STD_TORCH_CHECK(z.numel() == int64_t(primitives.size()) && z.scalar_type() == x.scalar_type(),
                    "z: expected one weight per primitive, of the input's dtype");
    const std::vector<int64_t> sizes = weight_sizes(primitives, x.size(1), int(stride));
    STD_TORCH_CHECK(weights.size() == sizes.size(), "weights: expected those of the primitives");
    for (size_t i = 0; i < sizes.size(); ++i)
      STD_TORCH_CHECK(weights[i].numel() == sizes[i] && weights[i].scalar_type() == x.scalar_type(),
                      "weights: expected the primitives' sizes and the input's dtype");
    return {x.size(0), x.size(1), x.size(2), x.size(3), int(stride)};
  }
  static std::vector<Tensor> dense_all(const std::vector<Tensor>& weights) {
    std::vector<Tensor> all;
    for (const Tensor& w : weights) all.push_back(dense(w));
    return all;
  }
  std::vector<const T*> pointers() const {
    std::vector<const T*> all;
    for (const Tensor& w : held) all.push_back(data<T>(w));
    return all;
  }
  Tensor dense_z;
  std::vector<Tensor> held;
  Edge<T> edge;
};

template <class T>
std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& x_any, const Tensor& z, const std::vector<Tensor>& weights,
                                           const std::vector<int64_t>& primitives, int64_t stride) {
  const Tensor x = channels_last(x_any);
  Call<T> call(x, z, weights, primitives, stride);
  Edge<T>& edge = call.edge;
  Plan<T>& plan = edge.plan;
  const Tensor values = empty({edge.values()}, x.scalar_type());
  const Tensor y = empty_image(plan.images, plan.channels, plan.out_height, plan.out_width, x.scalar_type());
  const Tensor statistics = empty({plan.norms(), 2, plan.padded()}, ScalarType::Double);
  double* s = mutable_data<double>(statistics);
  plan.x = data<T>(x);
  plan.y = mutable_data<T>(y);
  edge.use_values(mutable_data<T>(values));
  forward_passes(edge, s, [&](Pass<T> pass) { run(pass, edge); });
  return {y, values, statistics};
}

template <class T>
std::vector<Tensor> backward(const Tensor& grad_any, const Tensor& x_any, const Tensor& z,
                             const std::vector<Tensor>& weights, const std::vector<int64_t>& primitives,
                             int64_t stride, const Tensor& values, const Tensor& statistics) {
  const Tensor x = channels_last(x_any), grad = channels_last(grad_any);
  Call<T> call(x, z, weights, primitives, stride);
  Edge<T>& edge = call.edge;
  Plan<T>& plan = edge.plan;
  STD_TORCH_CHECK(values.numel() == edge.values() && statistics.numel() == edge.statistics() &&
                      values.scalar_type() == x.scalar_type() && statistics.scalar_type() == ScalarType::Double &&
                      values.is_contiguous() && statistics.is_contiguous(),
                  "values, statistics: expected what the forward pass gave");
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(0) == plan.images && grad.size(1) == plan.channels &&
                      grad.size(2) == plan.out_height && grad.size(3) == plan.out_width &&
                      grad.scalar_type() == x.scalar_type(),
                  "grad: expected the output's shape and dtype");
  const double* s = data<double>(statistics);
  const Tensor dx = empty_image(plan.images, plan.channels, plan.height, plan.width, x.scalar_type());
  plan.x = data<T>(x);
  plan.grad = data<T>(grad);
  plan.dx = mutable_data<T>(dx);
  edge.use_values(const_cast<T*>(data<T>(values)));
  const Tensor hidden = empty({plan.second * plan.images * edge.image()}, x.scalar_type());
  edge.use_hidden_gradients(mutable_data<T>(hidden));
  const Buffer<T> gradients = Buffer<T>::zeros(plan.groups * plan.weights);
  plan.weight_gradients = gradients.get();

  const std::vector<double> of_norm = backward_passes(edge, s, [&](Pass<T> pass) { run(pass, edge); });
  torch::stable::parallel_for(0, plan.weights, 4096,
                              [&](int64_t begin, int64_t end) { merge_gradients(plan, begin, end); });

  const Tensor dz = empty({int64_t(primitives.size())}, x.scalar_type());
  std::vector<Tensor> results = {dx, dz};
  for (size_t l = 0; l < primitives.size(); ++l) {
    const int n = edge.norm_of(l);
    mutable_data<T>(dz)[l] = T(edge.is_identity(l) ? edge.identity_gradient() : n < 0 ? 0.0 : of_norm[size_t(n)]);
  }
  std::vector<T*> to;
  for (const Tensor& w : call.held) {
    results.push_back(torch::stable::new_empty(w, w.sizes()));
    to.push_back(mutable_data<T>(results.back()));
  }
  edge.unpack(gradients.get(), to);
  return results;
}

void check_dtype(const Tensor& x) {
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
                  "x: expected float32 or float64");
}

std::tuple<Tensor, Tensor, Tensor> mixed_op(Tensor x, Tensor z, std::vector<Tensor> weights,
                                            std::vector<int64_t> primitives, int64_t stride) {
  check_dtype(x);
  return x.scalar_type() == ScalarType::Double ? forward<double>(x, z, weights, primitives, stride)
                                               : forward<float>(x, z, weights, primitives, stride);
}

std::vector<Tensor> mixed_op_backward(Tensor grad, Tensor x, Tensor z, std::vector<Tensor> weights,
                                      std::vector<int64_t> primitives, int64_t stride, Tensor values,
                                      Tensor statistics) {
  check_dtype(x);
  return x.scalar_type() == ScalarType::Double
             ? backward<double>(grad, x, z, weights, primitives, stride, values, statistics)
             : backward<float>(grad, x, z, weights, primitives, stride, values, statistics);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, mixed_op);
  BF_REGISTER(library, mixed_op_backward);
}

}  // namespace base_fast
