#include "../edge/mixed_op.h"

#include "../edge/passes.h"
#include "mixed_op_tensors.h"
#include "registration.h"

namespace base_fast {
namespace {

template <class T>
struct Call {
  Call(const Tensor& x, const Tensor& z, const std::vector<Tensor>& weights, const std::vector<int64_t>& primitives,
       int64_t stride, int64_t memory, bool backward)
      : z_numbers(z),
        numbers(weights.begin(), weights.end()),
        level(memory_of(memory)),
        edges(checked(x, z, weights, primitives, stride), {{primitives, z_numbers.get(), pointers()}},
              level == Memory::recompute) {
    const Direction direction = backward ? Direction::backward : Direction::forward;
    parallel_each(edges.stages(), edges.grain(), [&](int64_t s) { edges.pack(direction, s); });
    if (x.scalar_type() == ScalarType::BFloat16) edges.plan.image_storage = Storage::bfloat16;
  }

  static EdgeShape checked(const Tensor& x, const Tensor& z, const std::vector<Tensor>& weights,
                           const std::vector<int64_t>& primitives, int64_t stride) {
    STD_TORCH_CHECK(x.dim() == 4 && x.numel() > 0, "x: expected (B, C, H, W), not empty");
    STD_TORCH_CHECK(stride == 1 || stride == 2, "stride: expected 1 or 2");
    STD_TORCH_CHECK(int64_t(primitives.size()) <= kMostPrimitives, "primitives: expected at most ", kMostPrimitives);
    STD_TORCH_CHECK(z.numel() == int64_t(primitives.size()) && fits(z.scalar_type(), x.scalar_type()),
                    "z: expected one weight per primitive, of the input's dtype, or float32 beside bfloat16");
    const std::vector<int64_t> sizes = weight_sizes(primitives, x.size(1), int(stride));
    STD_TORCH_CHECK(weights.size() == sizes.size(), "weights: expected those of the primitives");
    for (size_t i = 0; i < sizes.size(); ++i)
      STD_TORCH_CHECK(weights[i].numel() == sizes[i] && fits(weights[i].scalar_type(), x.scalar_type()),
                      "weights: expected the primitives' sizes, and the input's dtype, or float32 beside bfloat16");
    return {x.size(0), x.size(1), x.size(2), x.size(3), int(stride)};
  }
  std::vector<const T*> pointers() const {
    std::vector<const T*> all;
    for (const Numbers<T>& w : numbers) all.push_back(w.get());
    return all;
  }
  Storage storage() const {
    const bool narrow = edges.plan.image_storage == Storage::bfloat16;
    return storage_of<T>(narrow ? ScalarType::BFloat16 : ScalarType::Float, level);
  }
  ScalarType dtype() const { return dtype_of<T>(storage()); }
  void use_values(const Tensor& kept) {
    const int64_t others = storage() == Storage::own ? edges.other_values() : (edges.other_values() + 1) / 2;
    edges.use_values(const_cast<void*>(kept.const_data_ptr()), thread_memory<Values, T>(others), storage());
  }

  Numbers<T> z_numbers;
  std::vector<Numbers<T>> numbers;
  Memory level;
  EdgeGroup<T> edges;
};

template <class T>
std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& x_any, const Tensor& z, const std::vector<Tensor>& weights,
                                           const std::vector<int64_t>& primitives, int64_t stride, int64_t memory) {
  const Tensor x = channels_last(x_any);
  Call<T> call(x, z, weights, primitives, stride, memory, false);
  EdgeGroup<T>& edges = call.edges;
  Plan<T>& plan = edges.plan;
  const Tensor values = empty({edges.kept_values()}, call.dtype());
  const Tensor y = empty_image(plan.images, plan.channels, plan.out_height, plan.out_width, x.scalar_type());
  const Tensor statistics = empty({plan.norms(), 2, plan.padded_channels()}, ScalarType::Double);
  double* s = mutable_data<double>(statistics);
  plan.x = x.const_data_ptr();
  plan.outputs[0].y = y.mutable_data_ptr();
  call.use_values(values);
  Runner<Plan<T>, T> runner(BF_KERNEL(mixed_op_scratch<T>));
  forward_passes(edges, s, [&](auto pass) { runner(pass, plan); });
  return {y, values, statistics};
}

template <class T>
std::vector<Tensor> backward(const Tensor& grad_any, const Tensor& x_any, const Tensor& z,
                             const std::vector<Tensor>& weights, const std::vector<int64_t>& primitives, int64_t stride,
                             int64_t memory, const Tensor& values, const Tensor& statistics) {
  const Tensor x = channels_last(x_any), grad = channels_last(grad_any);
  Call<T> call(x, z, weights, primitives, stride, memory, true);
  EdgeGroup<T>& edges = call.edges;
  Plan<T>& plan = edges.plan;
  STD_TORCH_CHECK(values.numel() == edges.kept_values() && statistics.numel() == edges.statistics() &&
                      values.scalar_type() == call.dtype() && statistics.scalar_type() == ScalarType::Double &&
                      values.is_contiguous() && statistics.is_contiguous(),
                  "values, statistics: expected what the forward pass gave");
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(0) == plan.images && grad.size(1) == plan.channels &&
                      grad.size(2) == plan.out_height && grad.size(3) == plan.out_width &&
                      grad.scalar_type() == x.scalar_type(),
                  "grad: expected the output's shape and dtype");
  const double* s = data<double>(statistics);
  const Tensor dx = empty_image(plan.images, plan.channels, plan.height, plan.width, x.scalar_type());
  plan.x = x.const_data_ptr();
  plan.outputs[0].grad = grad.const_data_ptr();
  plan.dx = dx.mutable_data_ptr();
  call.use_values(values);
  edges.use_first_stage_gradients(thread_memory<FirstStageGradients, T>(plan.second * plan.images * edges.image()));
  plan.weight_gradients = thread_memory<WeightGradients, T>(plan.groups * plan.weights);

  Runner<Plan<T>, T> runner(BF_KERNEL(mixed_op_scratch<T>), true);
  const std::vector<double> of_norm = backward_passes(edges, s, [&](auto pass) { runner(pass, plan); });
  parallel_merge(plan.weight_gradients, plan.groups, plan.weights);

  const Result<T> dz(z);
  edges.z_gradients(0, of_norm, dz.get());
  std::vector<Result<T>> results(weights.begin(), weights.end());
  std::vector<T*> to;
  for (const Result<T>& r : results) to.push_back(r.get());
  parallel_each(edges.stages(), edges.grain(), [&](int64_t s) { edges.unpack(s, to); });
  std::vector<Tensor> all = {dx, dz.finish()};
  for (const Result<T>& r : results) all.push_back(r.finish());
  return all;
}

std::tuple<Tensor, Tensor, Tensor> mixed_op(Tensor x, Tensor z, std::vector<Tensor> weights,
                                            std::vector<int64_t> primitives, int64_t stride, int64_t memory) {
  return with_type(x.scalar_type(), [&](auto own) {
    return forward<compute_t<decltype(own)>>(x, z, weights, primitives, stride, memory);
  });
}

std::vector<Tensor> mixed_op_backward(Tensor grad, Tensor x, Tensor z, std::vector<Tensor> weights,
                                      std::vector<int64_t> primitives, int64_t stride, int64_t memory, Tensor values,
                                      Tensor statistics) {
  return with_type(x.scalar_type(), [&](auto own) {
    return backward<compute_t<decltype(own)>>(grad, x, z, weights, primitives, stride, memory, values, statistics);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, mixed_op);
  BF_REGISTER(library, mixed_op_backward);
}

}  // namespace base_fast
