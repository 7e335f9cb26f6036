// After mixed_op.inl, whose pools it uses.
#include "pool_pair.h"
#include "image_rows.inl"

namespace base_fast {
namespace BF_ISA {
namespace pools {

using namespace image_rows;

// Output rows [begin, end) of one block of an image.
struct Band {
  int64_t n, b, begin, end;

  template <class P>
  static Band of(const P& plan, int64_t item) {
    const int64_t piece = item / plan.blocks(), begin = piece % plan.bands() * plan.band_rows();
    return {piece / plan.bands(), item % plan.blocks(), begin, std::min(begin + plan.band_rows(), plan.out_height())};
  }
};

template <class E, class T>
void forward(const PoolPlan<E, T>& plan, const Band& band, T* scratch) {
  const int64_t channels = plan.channels_of(band.b), c = band.b * kBlock, columns = plan.out_width();
  Plan<T> shape{};
  shape.height = plan.height, shape.width = plan.width, shape.stride = plan.stride;
  shape.out_height = plan.out_height(), shape.out_width = columns;
  const int64_t first = std::max<int64_t>(plan.stride * band.begin - 1, 0);
  const int64_t last = std::min(plan.stride * (band.end - 1) + 2, plan.height);
  T* maxima = scratch + plan.x_band();
  T* averages = maxima + columns * kBlock;
  // The image by pixels, as if all of it were there.
  View<T> x{reinterpret_cast<const T*>(plan.x.at(band.n, c, 0)), 0, plan.x.pixel};
  if (!in_place<const E, T>(plan.x, channels) || plan.x.row != plan.width * plan.x.pixel) {
    for (int64_t i = first; i < last; ++i)
      read_row<false>(plan.x.at(band.n, c, i), plan.x, channels, plan.width,
                      scratch + (i - first) * plan.width * kBlock);
    x = {scratch - first * plan.width * kBlock, 0, kBlock};
  }
  for (int64_t i = band.begin; i < band.end; ++i) {
    pool_rows(shape, Pools::both, x, 0, i, i + 1, maxima, averages);
    write_row(maxima, channels, columns, plan.max.at(band.n, c, i), plan.max);
    write_row(averages, channels, columns, plan.average.at(band.n, c, i), plan.average);
  }
}

template <class T>
bool has_nan(const T* row, int64_t count) {
  Ints<T> strange = {};
  for (int64_t j = 0; j < count; j += kWidth<T>) strange |= load(row + j) != load(row + j);
  return any(strange);
}

// dx for the rows in the middle of a band's windows. Rows of x and dx have their places in rings of three.
template <class E, class T>
void backward(const PoolPlan<E, T>& plan, const Band& band, T* scratch) {
  const int64_t s = plan.stride, channels = plan.channels_of(band.b), c = band.b * kBlock;
  const int64_t row = plan.framed_row(), columns = plan.out_width();
  T *x = scratch, *dx = x + 3 * row, *d_max = dx + 3 * row, *d_average = d_max + columns * kBlock;
  const auto place = [&](int64_t i) { return (i + 3) % 3; };
  bool strange[3] = {};
  for (int64_t k = 0; k < 3 * row; ++k) x[k] = -std::numeric_limits<T>::infinity(), dx[k] = T(0);
  const auto take = [&](int64_t i) {
    T* to = x + place(i) * row + kBlock;
    const bool inside = i >= 0 && i < plan.height;
    if (inside) {
      read_row<false>(plan.x.at(band.n, c, i), plan.x, channels, plan.width, to);
    } else {
      std::fill(to, to + plan.width * kBlock, -std::numeric_limits<T>::infinity());
    }
    strange[place(i)] = inside && has_nan(to, plan.width * kBlock);
  };
  // Windows of stride 1 reach into the rows of the bands above and below, those of stride 2 into the one above.
  const int64_t first = s * band.begin, last = std::min(s * band.end, plan.height);
  const int64_t from = std::max<int64_t>(s == 1 ? band.begin - 1 : band.begin, 0);
  const int64_t until = std::min(band.end + 1, plan.out_height());
  int64_t taken = s * from - 1, done = first;
  for (int64_t i = from; i < until; ++i) {
    for (; taken <= s * i + 1; ++taken) take(taken);
    read_row<false>(plan.d_max.at(band.n, c, i), plan.d_max, channels, columns, d_max);
    read_row<false>(plan.d_average.at(band.n, c, i), plan.d_average, channels, columns, d_average);
    const T* const own[3] = {x + place(s * i - 1) * row, x + place(s * i) * row, x + place(s * i + 1) * row};
    T* const to[3] = {dx + place(s * i - 1) * row, dx + place(s * i) * row, dx + place(s * i + 1) * row};
    const bool careful = strange[0] || strange[1] || strange[2];
    edge::scatter_row<T>(plan.height, plan.width, int(s), edge::Pools::both, careful, i, own, to, [&](int part) {
      return [=](int64_t j, Vec<T>, Vec<T>) __attribute__((always_inline)) {
        return edge::Gradients<T>{load(d_max + j * kBlock + part), load(d_average + j * kBlock + part)};
      };
    });
    // Rows that no further window reaches.
    const int64_t complete = i + 1 < plan.out_height() ? s * (i + 1) - 1 : plan.height;
    for (; done < std::min(complete, last); ++done)
      write_row(dx + place(done) * row + kBlock, channels, plan.width, plan.dx.at(band.n, c, done), plan.dx);
  }
}

}  // namespace pools

template <class E, class T>
void pool_pair(const PoolPlan<E, T>& plan, int64_t begin, int64_t end, T* scratch) {
  const edge::FlushDenormals flush;
  for (int64_t item = begin; item < end; ++item) pools::forward(plan, pools::Band::of(plan, item), scratch);
}

template <class E, class T>
void pool_pair_backward(const PoolPlan<E, T>& plan, int64_t begin, int64_t end, T* scratch) {
  const edge::FlushDenormals flush;
  for (int64_t item = begin; item < end; ++item) pools::backward(plan, pools::Band::of(plan, item), scratch);
}

#define BF_INSTANTIATE(E, T)                                                        \
  template void pool_pair(const PoolPlan<E, T>&, int64_t, int64_t, T*);             \
  template void pool_pair_backward(const PoolPlan<E, T>&, int64_t, int64_t, T*);
BF_INSTANTIATE(float, float)
BF_INSTANTIATE(double, double)
BF_INSTANTIATE(bfloat16, float)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
