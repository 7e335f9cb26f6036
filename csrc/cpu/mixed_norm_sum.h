// One tile of branches of any strides. Its elements are of `channels` channels: one, or one per column.
#include "block.h"

namespace base_fast {
namespace BF_ISA {

// Mean and Σ(x − mean)² of each channel.
template <class T>
void norm_moments(Block<const T> x, int64_t rows, int64_t columns, int64_t channels, double* means, double* squares,
                  T* room);

// y = Σ_k weights[k]·(x[k] − mean[k])·rstd[k]; means and rstds have one column per channel, `stride` apart per branch.
// `room`: four tiles; `sums`: a tile.
template <class T, class C>
void mixed_norm_sum(const Block<const T>* x, const double* weights, int64_t branches, const double* means,
                    const double* rstds, int64_t stride, Block<T> y, int64_t rows, int64_t columns, int64_t channels,
                    T* room, C* sums);

// Per channel Σ g, then for each branch Σ g·(x − mean); X is what branches are stored in. `room_*`: a tile each.
template <class T, class X>
void norm_products(Block<const T> grad, const Block<const X>* x, int64_t branches, const double* means, int64_t stride,
                   double* products, int64_t rows, int64_t columns, int64_t channels, T* room_t, X* room_x);

// The gradient for each branch, from averages over the channel of g and g·(x − mean). `room_t`: two tiles.
template <class T, class X>
void norm_d_branches(Block<const T> grad, const Block<const X>* x, const double* weights, const bool* normalized,
                     int64_t branches, const double* means, const double* rstds, const double* grad_averages,
                     const double* product_averages, int64_t stride, const Block<T>* dx, int64_t rows, int64_t columns,
                     int64_t channels, bool streamed, T* room_t, X* room_x);

}  // namespace BF_ISA
}  // namespace base_fast
