#include "../elementwise/sgd_step.h"
#include "threads.h"
#include "registration.h"
#include "tensor.h"

#include "../../core/sgd_step.h"

#include <cmath>

namespace base_fast {
namespace {

std::vector<Tensor> sgd_step(const std::vector<Tensor>& variables, const std::vector<Tensor>& gradients,
                             const std::vector<double>& lrs, double clip) {
  STD_TORCH_CHECK(!variables.empty() && gradients.size() == variables.size() && lrs.size() == variables.size(),
                  "variables, gradients, lrs: expected as many of each, and at least one");
  std::vector<Tensor> x, g, result;
  for (size_t i = 0; i < variables.size(); ++i) {
    STD_TORCH_CHECK(variables[i].scalar_type() == variables[0].scalar_type(), "variables: expected one dtype");
    check_like(gradients[i], variables[i], "gradients");
    x.push_back(dense(variables[i]));
    g.push_back(dense(gradients[i]));
    result.push_back(output_like(x[i]));
  }
  double square = 0.0;
  with_type(variables[0].scalar_type(), [&](auto type) {
    using T = decltype(type);
    const auto square_of = BF_KERNEL(sgd_square<T>);
    const auto update = BF_KERNEL(sgd_update<T>);
    // Every cut's Σ g², which is known before anything is clipped. Without clipping the variables need not wait for it:
    // they are updated while the cut's gradient is near.
    const auto each_cut = [&](size_t i, bool squares, bool updates, double rate) {
      const T *from = data<T>(x[i]), *gradient = data<T>(g[i]);
      T* const to = mutable_data<T>(result[i]);
      std::vector<double> partial(squares ? cuts(x[i].numel()) : 0);
      parallel_cuts(x[i].numel(), [&](int64_t cut, int64_t begin, int64_t end) {
        if (squares) partial[cut] = square_of(gradient, begin, end);
        if (updates) update(from, gradient, rate, to, begin, end);
      });
      for (double part : partial) square += part;
    };
    const bool clips = clip > 0.0;
    for (size_t i = 0; i < x.size(); ++i) each_cut(i, true, !clips, lrs[i]);
    if (!clips) return;
    const double scale = host::sgd_scale(clip, std::sqrt(square));
    for (size_t i = 0; i < x.size(); ++i) each_cut(i, false, true, lrs[i] * scale);
  });
  Tensor norm = empty({}, ScalarType::Double);
  *mutable_data<double>(norm) = std::sqrt(square);
  result.push_back(norm);
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(base_fast, CPU, library) { BF_REGISTER(library, sgd_step); }

}  // namespace base_fast
