#define BF_DECLARATIONS "mixed_op.h"
#include "declare.h"

#include "mixed_op_run.h"
#include "registration.h"

#define BF_ISA host
#include "../core/bfloat16.h"
#undef BF_ISA

namespace base_fast {
namespace {

// How much of the forward pass backward finds in memory.
enum class Memory : int64_t { store, store_bfloat16, recompute };

constexpr auto kChannelsLast = torch::headeronly::MemoryFormat::ChannelsLast;

Tensor channels_last(const Tensor& x) { return torch::stable::contiguous(x, kChannelsLast); }

Tensor empty_image(int64_t b, int64_t c, int64_t h, int64_t w, ScalarType dtype) {
  return torch::stable::empty({b, c, h, w}, dtype, std::nullopt,
                              torch::stable::Device(torch::headeronly::DeviceType::CPU), std::nullopt, kChannelsLast);
}

// What a tensor holds as T, in the tensor's own memory where it can.
template <class T>
class Numbers {
 public:
  explicit Numbers(const Tensor& tensor) : dense_(dense(tensor)), converted_(is_own() ? 0 : dense_.numel()) {
    for (int64_t i = 0; !is_own() && i < dense_.numel(); ++i)
      converted_.get()[i] = host::to_float(data<bfloat16>(dense_)[i]);
  }
  const T* get() const { return is_own() ? data<T>(dense_) : converted_.get(); }

 private:
  bool is_own() const { return dense_.scalar_type() != ScalarType::BFloat16; }
  Tensor dense_;
  Buffer<T> converted_;
};

// Memory for numbers that become a new tensor like another: its own, where the dtypes agree.
template <class T>
class Result {
 public:
  explicit Result(const Tensor& like)
      : tensor_(torch::stable::new_empty(like, like.sizes())), converted_(is_own() ? 0 : tensor_.numel()) {}
  T* get() const { return is_own() ? mutable_data<T>(tensor_) : converted_.get(); }
  Tensor finish() const {
    for (int64_t i = 0; !is_own() && i < tensor_.numel(); ++i)
      mutable_data<bfloat16>(tensor_)[i] = host::from_float<bfloat16>(float(converted_.get()[i]));
    return tensor_;
  }

 private:
  bool is_own() const { return tensor_.scalar_type() != ScalarType::BFloat16; }
  Tensor tensor_;
  Buffer<T> converted_;
};

template <class T>
struct Call {
  Call(const Tensor& x, const Tensor& z, const std::vector<Tensor>& weights, const std::vector<int64_t>& primitives,
       int64_t stride, int64_t memory)
      : z_numbers(z),
        numbers(weights.begin(), weights.end()),
        level(Memory(memory)),
        edge(checked(x, z, weights, primitives, stride, memory), primitives, z_numbers.get(), pointers()) {
    if (x.scalar_type() == ScalarType::BFloat16) edge.plan.image_storage = Storage::bfloat16;
  }

  static EdgeShape checked(const Tensor& x, const Tensor& z, const std::vector<Tensor>& weights,
                           const std::vector<int64_t>& primitives, int64_t stride, int64_t memory) {
    STD_TORCH_CHECK(x.dim() == 4 && x.numel() > 0, "x: expected (B, C, H, W), not empty");
    STD_TORCH_CHECK(stride == 1 || stride == 2, "stride: expected 1 or 2");
    STD_TORCH_CHECK(memory >= 0 && memory <= int64_t(Memory::recompute), "memory: expected 0, 1 or 2");
    STD_TORCH_CHECK(primitives.size() <= 32, "primitives: expected at most 32");
    for (int64_t primitive : primitives) {
      STD_TORCH_CHECK(primitive >= 0 && primitive < kPrimitives, "primitives: expected numbers of known ones");
    }
    const auto fits = [&](const Tensor& t) {
      const ScalarType x_type = x.scalar_type(), type = t.scalar_type();
      return type == x_type || (x_type == ScalarType::BFloat16 && type == ScalarType::Float);
    };
    STD_TORCH_CHECK(z.numel() == int64_t(primitives.size()) && fits(z),
                    "z: expected one weight per primitive, of the input's dtype, or float32 beside bfloat16");
    const std::vector<int64_t> sizes = weight_sizes(primitives, x.size(1), int(stride));
    STD_TORCH_CHECK(weights.size() == sizes.size(), "weights: expected those of the primitives");
    for (size_t i = 0; i < sizes.size(); ++i)
      STD_TORCH_CHECK(weights[i].numel() == sizes[i] && fits(weights[i]),
                      "weights: expected the primitives' sizes, and the input's dtype, or float32 beside bfloat16");
    return {x.size(0), x.size(1), x.size(2), x.size(3), int(stride)};
  }
  std::vector<const T*> pointers() const {
    std::vector<const T*> all;
    for (const Numbers<T>& w : numbers) all.push_back(w.get());
    return all;
  }
  // How the stages' values are stored, kept or not: what backward computes again is rounded as before.
  Storage storage() const {
    const bool rounds = edge.plan.image_storage == Storage::bfloat16 || level == Memory::store_bfloat16;
    return rounds && std::is_same_v<T, float> ? Storage::bfloat16 : Storage::own;
  }
  ScalarType dtype() const {
    return storage() == Storage::bfloat16 ? ScalarType::BFloat16
           : std::is_same_v<T, float>     ? ScalarType::Float
                                          : ScalarType::Double;
  }
  // Memory that does not outlive this call.
  void use_temporary_values() {
    struct Values;
    const int64_t size = storage() == Storage::own ? edge.values() : (edge.values() + 1) / 2;
    edge.use_values(thread_memory<Values, T>(size), storage(), true);
  }

  Numbers<T> z_numbers;
  std::vector<Numbers<T>> numbers;
  Memory level;
  Edge<T> edge;
};

template <class T>
std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& x_any, const Tensor& z, const std::vector<Tensor>& weights,
                                           const std::vector<int64_t>& primitives, int64_t stride, int64_t memory) {
  const Tensor x = channels_last(x_any);
  Call<T> call(x, z, weights, primitives, stride, memory);
  Edge<T>& edge = call.edge;
  Plan<T>& plan = edge.plan;
  const bool keeps = call.level != Memory::recompute;
  const Tensor values = empty({keeps ? edge.values() : 0}, call.dtype());
  const Tensor y = empty_image(plan.images, plan.channels, plan.out_height, plan.out_width, x.scalar_type());
  const Tensor statistics = empty({plan.norms(), 2, plan.padded()}, ScalarType::Double);
  double* s = mutable_data<double>(statistics);
  plan.x = x.const_data_ptr();
  plan.y = y.mutable_data_ptr();
  if (keeps) {
    edge.use_values(values.mutable_data_ptr(), call.storage());
  } else {
    call.use_temporary_values();
  }
  forward_passes(edge, s, [&](Pass<T> pass) { run_pass(pass, plan); });
  return {y, values, statistics};
}

template <class T>
std::vector<Tensor> backward(const Tensor& grad_any, const Tensor& x_any, const Tensor& z,
                             const std::vector<Tensor>& weights, const std::vector<int64_t>& primitives,
                             int64_t stride, int64_t memory, const Tensor& values, const Tensor& statistics) {
  const Tensor x = channels_last(x_any), grad = channels_last(grad_any);
  Call<T> call(x, z, weights, primitives, stride, memory);
  Edge<T>& edge = call.edge;
  Plan<T>& plan = edge.plan;
  const bool kept = call.level != Memory::recompute;
  STD_TORCH_CHECK(values.numel() == (kept ? edge.values() : 0) && statistics.numel() == edge.statistics() &&
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
  plan.grad = grad.const_data_ptr();
  plan.dx = dx.mutable_data_ptr();
  if (kept) {
    edge.use_values(const_cast<void*>(values.const_data_ptr()), call.storage());
  } else {
    call.use_temporary_values();
  }
  struct Hidden;
  edge.use_hidden_gradients(thread_memory<Hidden, T>(plan.second * plan.images * edge.image()));
  struct Gradients;
  plan.weight_gradients = thread_memory<Gradients, T>(plan.groups * plan.weights);

  const std::vector<double> of_norm = backward_passes(edge, s, [&](Pass<T> pass) { run_pass(pass, plan); });
  torch::stable::parallel_for(0, plan.weights, 4096,
                              [&](int64_t begin, int64_t end) { merge_gradients(plan, begin, end); });

  const Result<T> dz(z);
  for (size_t l = 0; l < primitives.size(); ++l) {
    const int n = edge.norm_of(l);
    dz.get()[l] = T(edge.is_identity(l) ? edge.identity_gradient() : n < 0 ? 0.0 : of_norm[size_t(n)]);
  }
  std::vector<Result<T>> results(weights.begin(), weights.end());
  std::vector<T*> to;
  for (const Result<T>& r : results) to.push_back(r.get());
  edge.unpack(plan.weight_gradients, to);
  std::vector<Tensor> all = {dx, dz.finish()};
  for (const Result<T>& r : results) all.push_back(r.finish());
  return all;
}

std::tuple<Tensor, Tensor, Tensor> mixed_op(Tensor x, Tensor z, std::vector<Tensor> weights,
                                            std::vector<int64_t> primitives, int64_t stride, int64_t memory) {
  return with_type(x.scalar_type(), [&](auto own) {
    return forward<host::compute_t<decltype(own)>>(x, z, weights, primitives, stride, memory);
  });
}

std::vector<Tensor> mixed_op_backward(Tensor grad, Tensor x, Tensor z, std::vector<Tensor> weights,
                                      std::vector<int64_t> primitives, int64_t stride, int64_t memory, Tensor values,
                                      Tensor statistics) {
  return with_type(x.scalar_type(), [&](auto own) {
    return backward<host::compute_t<decltype(own)>>(grad, x, z, weights, primitives, stride, memory, values,
                                                         statistics);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) {
  BF_REGISTER(library, mixed_op);
  BF_REGISTER(library, mixed_op_backward);
}

}  // namespace base_fast
