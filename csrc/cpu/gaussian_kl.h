// Elements [begin, end) of flat vectors.
#include "gaussians.h"

namespace base_fast {
namespace BF_ISA {

// The sum of their terms.
template <class T>
double gaussian_kl(Gaussians<T> q, int64_t begin, int64_t end);

template <class T>
void gaussian_kl_backward(double grad, Gaussians<T> q, GaussianGradients<T> d, int64_t begin, int64_t end);

}  // namespace BF_ISA
}  // namespace base_fast
