// After mixed_op.inl, whose filters it uses.
#include "depthwise_conv.h"
#include "image_rows.inl"

namespace base_fast {
namespace BF_ISA {
namespace depthwise {

using namespace image_rows;

template <class T>
CorrelateRows<T, Nothing> correlate(int kernel, int stride, int dilation) {
  if (kernel < 7 || dilation == 1) return correlate_of<T, Nothing>(kernel, stride, dilation);
  return stride == 1 ? &correlate_rows<T, 7, 1, 2, Nothing> : &correlate_rows<T, 7, 2, 2, Nothing>;
}
template <class T>
WeightGradient<T> filter_gradient(int kernel, int stride, int dilation) {
  if (kernel < 7 || dilation == 1) return weight_gradient_of<T>(kernel, stride, dilation);
  return stride == 1 ? &edge::weight_gradient<T, 7, 1, 2> : &edge::weight_gradient<T, 7, 2, 2>;
}

// `count` rows of a block from row `first` on, framed by zeros: to[0] is the pixel above and left of all frames.
template <bool Relu, class E, class T>
void fill_band(const Image<const E>& from, int64_t n, int64_t channel, int64_t channels, int64_t first, int64_t count,
               int64_t height, int64_t width, int64_t frame, T* to) {
  const int64_t side = frame * kBlock, row = width * kBlock + 2 * side;
  for (int64_t i = first; i < first + count; ++i, to += row) {
    if (i < 0 || i >= height) {
      std::memset(to, 0, size_t(row) * sizeof(T));
      continue;
    }
    std::memset(to, 0, size_t(side) * sizeof(T));
    read_row<Relu>(from.at(n, channel, i), from, channels, width, to + side);
    std::memset(to + row - side, 0, size_t(side) * sizeof(T));
  }
}

// Output rows [begin, end) of a block and what is read for them.
template <class E, class T>
struct Band {
  const DepthwisePlan<E, T>& plan;
  int64_t n, b, begin, end;

  static Band of(const DepthwisePlan<E, T>& plan, int64_t piece, int64_t b) {
    const int64_t rows = plan.band_rows(), begin = piece % plan.bands() * rows;
    return {plan, piece / plan.bands(), b, begin, std::min(begin + rows, plan.out_height())};
  }
  int64_t channels() const { return plan.channels_of(b); }

  void fill_x(T* to) const {
    const auto fill = plan.relu ? &fill_band<true, E, T> : &fill_band<false, E, T>;
    fill(plan.x, n, b * kBlock, channels(), plan.stride * begin - plan.frame(),
         plan.stride * (end - begin - 1) + 1 + 2 * plan.frame(), plan.height, plan.width, plan.frame(), to);
  }
  void fill_grad(T* to) const {
    fill_band<false>(plan.grad, n, b * kBlock, channels(), begin - plan.grad_frame(),
                     end - begin + 2 * plan.grad_frame(), plan.out_height(), plan.out_width(), plan.grad_frame(), to);
  }
};

template <class E, class T>
void write_rows(const T* from, const Band<E, T>& band, int64_t i, int64_t count, int64_t width, const Image<E>& to) {
  for (int64_t r = 0; r < count; ++r)
    write_row(from + r * width * kBlock, band.channels(), width, to.at(band.n, band.b * kBlock, i + r), to);
}

template <class E, class T>
void forward(const Band<E, T>& band, T* x, T* strip) {
  const DepthwisePlan<E, T>& plan = band.plan;
  const int64_t columns = plan.out_width();
  const bool direct = in_place<E, T>(plan.y, band.channels());
  band.fill_x(x);
  const CorrelateRows<T, Nothing> rows = correlate<T>(plan.kernel, plan.stride, plan.dilation);
  Nothing nothing;
  const auto filter = [&](int64_t i, int64_t count, T* to, int64_t row, int64_t step) {
    rows(x + (i - band.begin) * plan.stride * plan.x_row(), plan.x_row(), plan.kernel,
         plan.weight + band.b * plan.taps(), to, row, step, count, columns, false, nothing);
  };
  if (direct) {
    T* y = reinterpret_cast<T*>(plan.y.at(band.n, band.b * kBlock, band.begin));
    return filter(band.begin, band.end - band.begin, y, plan.y.row, plan.y.pixel);
  }
  for (int64_t i = band.begin; i < band.end; i += kStrip) {
    const int64_t count = std::min(kStrip, band.end - i);
    filter(i, count, strip, columns * kBlock, kBlock);
    write_rows(strip, band, i, count, columns, plan.y);
  }
}

// Rows [i, i + count) of the gradient of the rectified input, i − s·begin a multiple of kStrip: the filter's transpose
// of the band's gradient.
template <class E, class T>
void transposed(const Band<E, T>& band, const T* grad, int64_t i, int64_t count, T* to) {
  const DepthwisePlan<E, T>& plan = band.plan;
  const int64_t frame = plan.grad_frame(), grad_row = plan.grad_row(), row = plan.width * kBlock;
  const T* w = plan.scattered + band.b * plan.taps();
  Nothing nothing;
  if (plan.stride == 1)
    return correlate<T>(plan.kernel, 1, plan.dilation)(grad + (i - band.begin) * grad_row, grad_row, plan.kernel, w, to,
                                                       row, kBlock, count, plan.width, false, nothing);
  for (int a = 0; a < 2; ++a) {
    for (int b = 0; b < 2; ++b) {
      const Parity p = parity_of(plan.kernel, plan.dilation, 2, a, b);
      const int64_t rows = (count - a + 1) / 2, columns = (plan.width - b + 1) / 2;
      T* own = to + a * row + b * kBlock;
      if (p.rows > 0 && p.columns > 0) {
        const T* from = grad + (i / 2 - band.begin + frame + p.row) * grad_row + (frame + p.column) * kBlock;
        correlate<T>(p.columns, 1, 1)(from, grad_row, p.rows, w, own, 2 * row, 2 * kBlock, rows, columns, false,
                                      nothing);
        w += p.rows * p.columns * kBlock;
      } else {
        for (int64_t k = 0; k < rows * columns; ++k)
          std::memset(own + (k / columns * row + k % columns * kBlock) * 2, 0, kBlock * sizeof(T));
      }
    }
  }
}

// In T within a few hundred pixels, in double over them.
template <class E, class T>
void filter_gradients(const Band<E, T>& band, const T* x, const T* grad, T* dw, double* weight_gradients) {
  const DepthwisePlan<E, T>& plan = band.plan;
  const auto gradient = filter_gradient<T>(plan.kernel, plan.stride, plan.dilation);
  const int64_t rows = band.end - band.begin, step = std::max<int64_t>(512 / plan.out_width(), 1);
  const T* inner = grad + plan.grad_frame() * (plan.grad_row() + kBlock);
  for (int64_t i = 0; i < rows; i += step) {
    std::memset(dw, 0, size_t(plan.taps()) * sizeof(T));
    gradient(x + i * plan.stride * plan.x_row(), plan.x_row(), inner + i * plan.grad_row(), plan.grad_row(),
             std::min(step, rows - i), plan.out_width(), dw);
    for (int64_t t = 0; t < plan.taps(); ++t) weight_gradients[t] += double(dw[t]);
  }
}

template <class E, class T>
void backward(const Band<E, T>& band, T* x, T* grad, T* strip, T* dw, double* weight_gradients) {
  const DepthwisePlan<E, T>& plan = band.plan;
  const int64_t begin = plan.stride * band.begin, end = std::min(plan.stride * band.end, plan.height);
  band.fill_x(x);
  band.fill_grad(grad);
  filter_gradients(band, x, grad, dw, weight_gradients);
  for (int64_t i = begin; i < end; i += kStrip) {
    const int64_t count = std::min(kStrip, end - i);
    transposed(band, grad, i, count, strip);
    for (int64_t r = 0; plan.relu && r < count; ++r) {
      const T* value = x + (i + r - begin + plan.frame()) * plan.x_row() + plan.frame() * kBlock;
      T* d = strip + r * plan.width * kBlock;
      for (int64_t j = 0; j < plan.width * kBlock; j += kWidth<T>)
        store(d + j, load(value + j) <= Vec<T>{} ? Vec<T>{} : load(d + j));
    }
    write_rows(strip, band, i, count, plan.width, plan.dx);
  }
}

}  // namespace depthwise

template <class E, class T>
void depthwise_conv(const DepthwisePlan<E, T>& plan, int64_t begin, int64_t end, T* scratch) {
  using namespace depthwise;
  const edge::FlushDenormals flush;
  for (int64_t item = begin; item < end; ++item)
    forward(Band<E, T>::of(plan, item / plan.blocks(), item % plan.blocks()), scratch, scratch + plan.x_band());
}

template <class E, class T>
void depthwise_conv_backward(const DepthwisePlan<E, T>& plan, int64_t begin, int64_t end, T* scratch) {
  using namespace depthwise;
  const edge::FlushDenormals flush;
  T* grad = scratch + plan.x_band();
  T* strip = grad + plan.grad_band();
  T* dw = strip + plan.strip(plan.width);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t group = item / plan.blocks(), b = item % plan.blocks();
    double* gradients = plan.weight_gradients + item * plan.taps();
    std::memset(gradients, 0, size_t(plan.taps()) * sizeof(double));
    for (int64_t piece = plan.pieces() * group / plan.groups(); piece < plan.pieces() * (group + 1) / plan.groups();
         ++piece)
      backward(Band<E, T>::of(plan, piece, b), scratch, grad, strip, dw, gradients);
  }
}

#define BF_INSTANTIATE(E, T)                                                                     \
  template void depthwise_conv(const DepthwisePlan<E, T>&, int64_t, int64_t, T*);                \
  template void depthwise_conv_backward(const DepthwisePlan<E, T>&, int64_t, int64_t, T*);
BF_INSTANTIATE(float, float)
BF_INSTANTIATE(double, double)
BF_INSTANTIATE(bfloat16, float)
#undef BF_INSTANTIATE

}  // namespace BF_ISA
}  // namespace base_fast
