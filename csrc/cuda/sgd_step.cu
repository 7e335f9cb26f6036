#include "sgd_step.h"

#include "launch.h"

namespace base_fast {
namespace {

// What one launch takes, and its blocks.
template <class T>
struct Launch {
  cuda::SgdVectors<T> vectors{};
  unsigned blocks = 0;
};

template <class T>
std::vector<Launch<T>> launches_of(const std::vector<Tensor>& x, const std::vector<Tensor>& g,
                                   const std::vector<Tensor>& after, const std::vector<double>& lrs) {
  std::vector<Launch<T>> launches;
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % cuda::kVectors == 0) launches.emplace_back();
    Launch<T>& launch = launches.back();
    const int64_t count = x[i].numel();
    const unsigned blocks = blocks_for((count + 3) / 4);
    launch.vectors.at[launch.vectors.count++] = {
        data<T>(x[i]),
        data<T>(g[i]),
        mutable_data<T>(after[i]),
        lrs[i],
        count,
        launch.blocks,
        blocks,
        aligned({x[i].const_data_ptr(), g[i].const_data_ptr(), after[i].const_data_ptr()})};
    launch.blocks += blocks;
  }
  return launches;
}

std::vector<Tensor> sgd_step(const std::vector<Tensor>& variables, const std::vector<Tensor>& gradients,
                             const std::vector<double>& lrs, double clip) {
  STD_TORCH_CHECK(!variables.empty() && gradients.size() == variables.size() && lrs.size() == variables.size(),
                  "variables, gradients, lrs: expected as many of each, and at least one");
  const Tensor& first = variables[0];
  const torch::stable::accelerator::DeviceGuard guard(first.get_device_index());
  std::vector<Tensor> x, g, result;
  for (size_t i = 0; i < variables.size(); ++i) {
    STD_TORCH_CHECK(variables[i].scalar_type() == first.scalar_type(), "variables: expected one dtype");
    check_like(gradients[i], variables[i], "gradients");
    x.push_back(dense(variables[i]));
    g.push_back(dense(gradients[i]));
    result.push_back(torch::stable::empty_like(x[i]));
  }
  const Tensor norm = torch::stable::new_empty(first, {}, ScalarType::Double);
  with_type(first.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const std::vector<Launch<T>> launches = launches_of<T>(x, g, result, lrs);
    const cudaStream_t stream = stream_of(first);
    int64_t blocks = 0;
    for (const Launch<T>& launch : launches) blocks += launch.blocks;
    const Tensor partials = torch::stable::new_empty(first, {blocks}, ScalarType::Double);
    double* partial = mutable_data<double>(partials);
    const bool clips = clip > 0.0;
    for (const Launch<T>& launch : launches) {
      const auto kernel = clips ? cuda::sgd_step_kernel<T, true, false> : cuda::sgd_step_kernel<T, true, true>;
      kernel<<<launch.blocks, kThreads, 0, stream>>>(launch.vectors, clip, nullptr, partial);
      partial += launch.blocks;
    }
    cuda::sgd_norm_kernel<<<1, kThreads, 0, stream>>>(data<double>(partials), blocks, mutable_data<double>(norm));
    if (!clips) return;
    for (const Launch<T>& launch : launches) {
      cuda::sgd_step_kernel<T, false, true>
          <<<launch.blocks, kThreads, 0, stream>>>(launch.vectors, clip, data<double>(norm), nullptr);
    }
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  result.push_back(norm);
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CUDA, library) { BF_REGISTER(library, sgd_step); }

}  // namespace base_fast
