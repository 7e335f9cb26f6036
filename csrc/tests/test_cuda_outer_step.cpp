// The CUDA kernel's body on the host against the formula in double.
#include "../cuda/outer_step.h"
#include "check.h"
#include "vectors.h"

using namespace base_fast::host;

template <class T>
void compare(int64_t count, int tasks, bool aligned) {
  const auto prior = vectors::values<T>(count, 1.0, 0.5);
  std::vector<vectors::Vector<T>> adapted;
  for (int c = 0; c < tasks; ++c) adapted.push_back(vectors::values<T>(count, 1.0 + 0.1 * c, 0.0));
  auto sums = vectors::nans<compute_t<T>>(count);
  auto found = vectors::nans<T>(count);
  for (int start = 0; start < tasks; start += kTasks) {
    Adapted<T> group{};
    for (; group.count < kTasks && start + group.count < tasks; ++group.count) {
      group.x[group.count] = adapted[start + group.count].data();
    }
    base_fast_host::launch(3, 32, outer_step_kernel<T>, prior.data(), group, int64_t{tasks}, 0.3, sums.data(),
                           start == 0, start + group.count == tasks, found.data(), count, aligned);
  }
  vectors::Vector<double> expected, in_double;
  for (int64_t i = 0; i < count; ++i) {
    double mean = 0.0;
    for (const auto& x : adapted) mean += vectors::to_double(x[i]) / tasks;
    const double w = vectors::to_double(prior[i]);
    expected.push_back(w + 0.3 * (mean - w));
    in_double.push_back(vectors::to_double(found[i]));
  }
  CHECK(vectors::error(in_double, expected) <= vectors::kTolerance<T>);
}

int main() {
  for (int64_t count : {1, 4, 1027}) {
    for (int tasks : {1, 5, 16, 35}) {
      for (bool aligned : {false, true}) {
        compare<float>(count, tasks, aligned);
        compare<double>(count, tasks, aligned);
        compare<base_fast::bfloat16>(count, tasks, aligned);
      }
    }
  }
  return failures() != 0;
}
