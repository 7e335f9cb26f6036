// The CUDA kernels' bodies on the host against the CPU kernels.
#include "isa_or_skip.h"

#include "../cpu/elementwise/gaussian_sample.h"

#include "../cuda/gaussian_sample.h"
#include "check.h"
#include "vectors.h"

using base_fast::Key;

template <class T>
void compare(int64_t count, bool aligned) {
  const Key key{-12, (int64_t{1} << 32) - 3};
  const int64_t words[2] = {key.seed, key.offset};
  const auto mu = vectors::values<T>(count, 1.0, 0.0), rho = vectors::values<T>(count, 3.0, -3.0);
  auto expected = vectors::nans<T>(count), found = vectors::nans<T>(count);

  BF_KERNEL(gaussian_sample<T>)(mu.data(), rho.data(), expected.data(), 0, count, key);
  base_fast_host::launch(3, 32, base_fast::host::gaussian_sample_kernel<T>, mu.data(), rho.data(), &words[0],
                         found.data(), count, aligned);
  CHECK(vectors::error(found, expected) <= vectors::kTolerance<T>);

  BF_KERNEL(gaussian_sample_backward<T>)(mu.data(), rho.data(), expected.data(), 0, count, key);
  base_fast_host::launch(3, 32, base_fast::host::gaussian_sample_backward_kernel<T>, mu.data(), rho.data(), &words[0],
                         found.data(), count, aligned);
  CHECK(vectors::error(found, expected) <= vectors::kTolerance<T>);
}

int main() {
  BF_ISA_OR_SKIP();
  for (int64_t count : {1, 2, 3, 4, 5, 255, 256, 257, 1027}) {
    for (bool aligned : {false, true}) {
      compare<float>(count, aligned);
      compare<double>(count, aligned);
      compare<base_fast::bfloat16>(count, aligned);
    }
  }
  return failures() != 0;
}
