// The kernels of nodes' sums.
#pragma once

#include "channels.h"

#include "../../core/macros.h"
#include "../isa/vector.h"

namespace base_fast {
namespace BF_ISA {
namespace channels {

using namespace simd;

// As many neighbouring channels as a vector has lanes, or the last few, which are computed on in the same way.
template <class T, bool whole>
struct Lanes {
  size_t bytes;

  BF_INLINE Vec<T> get(const T* p) const {
    if (whole) return simd::load(p);
    Vec<T> v{};
    std::memcpy(&v, p, bytes);
    return v;
  }
  BF_INLINE void put(T* p, Vec<T> v) const {
    if (whole) return simd::store(p, v);
    std::memcpy(p, &v, bytes);
  }
};

// f(first channel, lanes) until all channels had their turn.
template <class T, class F>
BF_INLINE void for_lanes(int64_t channels, const F& f) {
  int64_t first = 0;
  for (; first + kWidth<T> <= channels; first += kWidth<T>) f(first, Lanes<T, true>{sizeof(Vec<T>)});
  if (first < channels) f(first, Lanes<T, false>{size_t(channels - first) * sizeof(T)});
}

// Sums in T are taken over so many rows, and over these in double.
constexpr int64_t kRows = 128;

template <class T, class L>
BF_INLINE Vec<T> total(const Summand<T>* of, int64_t count, int64_t channels, int64_t row, int64_t c, const L& lanes) {
  Vec<T> sum{};
  for (int64_t k = 0; k < count; ++k) {
    const Summand<T>& term = of[k];
    sum = fma(lanes.get(term.scale + c), lanes.get(term.x + row * channels + c) - lanes.get(term.shift + c), sum);
  }
  return sum;
}

template <class T, class L>
BF_INLINE void add_to(double* sums, Vec<T> v, const L& lanes) {
  for (size_t i = 0; i < lanes.bytes / sizeof(T); ++i) sums[i] += double(v[i]);
}

}  // namespace channels

template <class T>
void channel_sum(const ChannelSum<T>& of, int64_t begin, int64_t end, int64_t channels) {
  using namespace channels;
  for_lanes<T>(channels, [&](int64_t c, auto lanes) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * channels + c;
      Vec<T> sum = total(of.plain, of.plain_count, channels, row, c, lanes);
      if (of.masked_count > 0) {
        const Vec<T> more = total(of.masked, of.masked_count, channels, row, c, lanes);
        sum += lanes.get(of.mask + at) <= Vec<T>{} ? Vec<T>{} : more;
      }
      if (of.sum != nullptr) lanes.put(of.sum + at, sum);
      if (of.rectified != nullptr) lanes.put(of.rectified + at, simd::relu(sum));
    }
  });
}

template <class T>
void channel_moments(const T* x, int64_t rows, int64_t channels, double* mean, double* square) {
  using namespace channels;
  for_lanes<T>(channels, [&](int64_t c, auto lanes) {
    // At a mean far from zero, plain sums would have no digits left for the variance.
    const Vec<T> shift = lanes.get(x + c);
    double first[kWidth<T>] = {}, second[kWidth<T>] = {};
    for (int64_t begin = 0; begin < rows; begin += kRows) {
      const int64_t end = begin + kRows < rows ? begin + kRows : rows;
      Vec<T> sums[4] = {}, squares[4] = {};
      const auto add = [&](int64_t row, int k) {
        const Vec<T> d = lanes.get(x + row * channels + c) - shift;
        sums[k] += d;
        squares[k] = fma(d, d, squares[k]);
      };
      int64_t row = begin;
      for (; row + 4 <= end; row += 4) add(row, 0), add(row + 1, 1), add(row + 2, 2), add(row + 3, 3);
      for (; row < end; ++row) add(row, 0);
      add_to<T>(first, (sums[0] + sums[1]) + (sums[2] + sums[3]), lanes);
      add_to<T>(second, (squares[0] + squares[1]) + (squares[2] + squares[3]), lanes);
    }
    for (size_t i = 0; i < lanes.bytes / sizeof(T); ++i) {
      mean[c + int64_t(i)] = double(shift[i]) + first[i] / double(rows);
      square[c + int64_t(i)] = second[i] - first[i] * first[i] / double(rows);
    }
  });
}

template <class T>
void channel_projections(const T* grad, const Summand<T>* of, int64_t count, int64_t begin, int64_t end,
                         int64_t channels, double* sums) {
  using namespace channels;
  std::memset(sums, 0, size_t((count + 1) * channels) * sizeof(double));
  // Some rows for all summands, whose gradient stays near meanwhile.
  for (; begin < end; begin += kRows) {
    const int64_t stop = begin + kRows < end ? begin + kRows : end;
    for_lanes<T>(channels, [&](int64_t c, auto lanes) {
      for (int64_t k = -1; k < count; ++k) {
        const T* x = k < 0 ? nullptr : of[k].x;
        const Vec<T> shift = k < 0 ? Vec<T>{} : lanes.get(of[k].shift + c);
        Vec<T> part[4] = {};
        const auto add = [&](int64_t row, int i) {
          const Vec<T> g = lanes.get(grad + row * channels + c);
          part[i] = k < 0 ? part[i] + g : fma(g, lanes.get(x + row * channels + c) - shift, part[i]);
        };
        int64_t row = begin;
        for (; row + 4 <= stop; row += 4) add(row, 0), add(row + 1, 1), add(row + 2, 2), add(row + 3, 3);
        for (; row < stop; ++row) add(row, 0);
        add_to<T>(sums + (k + 1) * channels + c, (part[0] + part[1]) + (part[2] + part[3]), lanes);
      }
    });
  }
}

template <class T>
void average_3x3(const T* BF_RESTRICT x, T* BF_RESTRICT y, int64_t height, int64_t width, int64_t channels,
                 bool transposed, T* BF_RESTRICT scratch) {
  // How many of three neighbours there are.
  const auto neighbours = [](int64_t i, int64_t size) { return T(1 + int64_t(i > 0) + int64_t(i + 1 < size)); };
  const int64_t count = width * channels;
  // Sums of three rows between zeros for the columns beyond the border; a column's part of the mean.
  T* line = scratch + channels;
  T* part = line + count + channels;
  for (int64_t c = 0; c < channels; ++c) scratch[c] = line[count + c] = T(0);
  for (int64_t w = 0; w < width; ++w)
    for (int64_t c = 0; c < channels; ++c) part[w * channels + c] = T(1) / neighbours(w, width);
  for (int64_t h = 0; h < height; ++h) {
    for (int64_t i = 0; i < count; ++i) line[i] = T(0);
    for (int64_t from = h > 0 ? h - 1 : 0; from < height && from <= h + 1; ++from) {
      const T* row = x + from * count;
      const T scale = transposed ? T(1) / neighbours(from, height) : T(1);
      if (transposed) {
        for (int64_t i = 0; i < count; ++i) line[i] += row[i] * (scale * part[i]);
      } else {
        for (int64_t i = 0; i < count; ++i) line[i] += row[i];
      }
    }
    T* to = y + h * count;
    const T scale = transposed ? T(1) : T(1) / neighbours(h, height);
    for (int64_t i = 0; i < count; ++i) {
      const T sum = line[i - channels] + line[i] + line[i + channels];
      to[i] = transposed ? sum : sum * (scale * part[i]);
    }
  }
}

#define BF_INSTANTIATE(T)                                                                                         \
  template void channel_sum<T>(const ChannelSum<T>&, int64_t, int64_t, int64_t);                                  \
  template void channel_moments<T>(const T*, int64_t, int64_t, double*, double*);                                 \
  template void channel_projections<T>(const T*, const Summand<T>*, int64_t, int64_t, int64_t, int64_t, double*); \
  template void average_3x3<T>(const T*, T*, int64_t, int64_t, int64_t, bool, T*);
BF_INSTANTIATE(float)
BF_INSTANTIATE(double)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
