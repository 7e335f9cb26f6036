// What the passes of mixed edges work on: plain numbers and pointers, the same for every instruction set.
#pragma once

#include <cstdint>

#include "../../core/types.h"
#include "../blocked/layout.h"
#include "../memory/groups.h"

namespace base_fast {

// Batch norm with batch statistics, per channel (padded). v̂ = (v − mean)·rstd + offset, where `mean` is rounded to T
// and `offset` makes up for the rounding: at a mean of 1000 standard deviations it matters.
template <class T>
struct Norm {
  T* mean;
  T* rstd;
  T* offset;
  // Backward: dv = gain·g + slope·(v − mean) + intercept, g the gradient of what the norm feeds.
  T* gain;
  T* slope;
  T* intercept;
};

// What a stage computes of relu(input), in front of its batch norm.
enum class StageKind {
  // A depthwise filter and a pointwise product: half a separable convolution, or a dilated one.
  convolution,
  // Two pointwise products, of the even and of the odd pixels, for one half of the output channels each. It has no
  // filter: its `kernel` is 0.
  factorized_reduction,
};

// Pointers are into memory of the `EdgeGroup` or of its caller, valid until the op returns. Of the weights, `depthwise`
// and `pointwise` are there for whoever computes v, `scattered` and `transposed` in backward alone: see
// EdgeGroup::pack.
template <class T>
struct Stage {
  StageKind kind;
  int kernel;
  int dilation;
  int stride;
  int input;              // the stage that it continues, or −1: x
  int output;             // the edge that it belongs to
  bool last;              // y sums it; no stage continues it
  const T* depthwise;     // [block][tap][16]
  const T* scattered;     // the same for the gradient of the input, see `Parity`
  const T* pointwise;     // [out block][in][16], for a reduction those of either half
  const T* transposed;    // [in block][out][16], likewise
  void* v;                // before the norm: (B, block, pixel, 16), stored as `value_storage` says
  bool kept;              // for backward, which computes it again otherwise, into memory that need not outlive it
  T* gradient;            // of the normalized value that the next stage reads; the same shape
  int64_t depthwise_at;   // where its weights' gradients lie in a group's: [block][tap][16] ...
  int64_t pointwise_at;   // ... and [in block][out][16], likewise
  Norm<T> norm;

  int64_t taps() const { return int64_t(kernel) * kernel; }
  int products() const { return kind == StageKind::factorized_reduction ? 2 : 1; }
  // The output channels of one of its products.
  ChannelRange outputs_of(int product, int64_t channels) const {
    return kind == StageKind::factorized_reduction ? half_of(channels, product) : ChannelRange{0, channels};
  }
};

// Where one edge of a group leads: what it adds to, and the gradient that comes back.
template <class T>
struct EdgeOutput {
  const int* stages;  // those that y sums, `count` of them
  int count;
  bool max_pool, avg_pool;
  Norm<T> max_norm, avg_norm;
  bool has_identity;
  T identity;         // its weight
  const T* constant;  // per channel: what the norms' offsets add to y
  // NHWC, neighbouring pixels so many elements apart: an image may be a slice of the channels of a wider one.
  void* y;
  const void* grad;
  int64_t y_pixel, grad_pixel;
  const void* y_addend;  // what is added to y, or null; it may be its own memory
  int64_t y_addend_pixel;
};

// Edges that read the same x, on one batch. A pass reads it and writes, per group of images: its rows of `sums`, its
// `weight_gradients`, its images of v, y or dx; so groups may run on any threads, in any order. Norms are counted:
// stages first, then the edges' max pools, then their average pools; the last rows of sums are the identities'. As all
// pools see the same x, the first edge's rows hold the moments of all.
template <class T>
struct Plan {
  int64_t images, channels, blocks;
  int64_t height, width;          // of x
  int64_t out_height, out_width;  // of what it becomes
  int stride;
  int64_t halo;  // zeros around padded images

  Stage<T>* stages;
  int first, second;  // the first `first` stages read x, the next `second` continue them
  EdgeOutput<T>* outputs;
  int count;                             // of them
  bool max_pool, avg_pool, has_identity;  // whether any of them has it
  Norm<T> max_norm, avg_norm;            // backward: slope and intercept of all edges together

  const void* x;
  void* dx;
  int64_t x_pixel, dx_pixel;
  const void* dx_addend;
  int64_t dx_addend_pixel;
  Storage image_storage;  // of x, y and their gradients
  Storage value_storage;  // of the stages' values
  bool recompute;         // whether backward computes any value again

  int64_t groups;       // the batch is cut into so many, whatever the number of threads
  double* sums;  // [group][row][2][padded channel]: mean and Σ(v − mean)² forward, Σ g and Σ g·(v − mean) backward
  T* weight_gradients;  // [group][weights]; the passes clear what they add to
  int64_t weights;

  int64_t padded_channels() const { return blocks * kBlock; }
  int64_t pixels() const { return height * width; }
  int64_t out_pixels() const { return out_height * out_width; }
  int norms() const { return first + second + 2 * count; }
  int rows() const { return norms() + count; }  // of sums
  int max_row() const { return first + second; }
  int avg_row() const { return first + second + count; }
  int64_t begin(int64_t group) const { return images * group / groups; }
  // Elements of a chunk of one block, and of all.
  int64_t block_chunk() const { return chunk_rows() * out_width * kBlock; }
  int64_t chunk() const { return padded_channels() * chunk_rows() * out_width; }
  PoolShape pool_shape() const { return {height, width, out_width, stride}; }
  double* sums_of(int64_t group, int norm) const { return sums + (group * rows() + norm) * 2 * padded_channels(); }
  // Rows of output that are worked on at once.
  int64_t chunk_rows() const {
    const int64_t pixels = clamp_chunk(kChunkElements / padded_channels());
    // Rows are computed in pairs, dilated ones two apart.
    const int64_t rows = pixels < 8 * out_width ? 4 : pixels / (4 * out_width) * 4;
    return rows < out_height ? rows : out_height;
  }
};

}  // namespace base_fast
