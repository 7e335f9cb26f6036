// The three backward passes.
namespace base_fast {
namespace BF_ISA {
namespace edge {

// Through a batch norm: gain·g + slope·(v − mean) + intercept for `count` pixels of block b.
template <class T>
void norm_backward(const Norm<T>& norm, int64_t b, const T* g, int64_t g_step, const T* v, int64_t count, T* dv) {
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const int64_t c = b * kBlock + part;
    const Vec<T> gain = load(norm.gain + c), slope = load(norm.slope + c), intercept = load(norm.intercept + c);
    const Vec<T> mean = load(norm.mean + c);
#pragma GCC unroll 4
    for (int64_t j = 0; j < count; ++j) {
      const Vec<T> centred = load(v + j * kBlock + part) - mean;
      store(dv + j * kBlock + part, fma(gain, load(g + j * g_step + part), fma(slope, centred, intercept)));
    }
  }
}

// dx (+)= the filter's transpose of a block's gradient, dx dense of `height` × `width`.
template <class T>
void depthwise_transposed(const Stage<T>& stage, const Framed<T>& g, int64_t b, int64_t height, int64_t width, T* dx,
                          bool add) {
  const int k = stage.kernel, d = stage.dilation, s = stage.stride;
  const T* w = stage.scattered + b * k * k * kBlock;
  if (s == 1) {
    const int pad = d * (k / 2);
    const CorrelateRow<T> correlate = correlate_of<T>(k, 1, d);
    for (int64_t i = 0; i < height; ++i)
      correlate(g.at(b, i - pad, -pad), d * g.row, k, w, dx + i * width * kBlock, kBlock, width, add);
    return;
  }
  for (int row = 0; row < 2; ++row) {
    for (int column = 0; column < 2; ++column) {
      const Parity p = parity_of(k, d, s, row, column);
      if (p.rows == 0 || p.columns == 0) continue;
      const CorrelateRow<T> correlate = correlate_of<T>(p.columns, 1, 1);
      for (int64_t i = row; i < height; i += 2)
        correlate(g.at(b, i / 2 + p.row, p.column), g.row, p.rows, w, dx + (i * width + column) * kBlock, 2 * kBlock,
                  (width - column + 1) / 2, true);
      w += p.rows * p.columns * kBlock;
    }
  }
}

// A pass's scratch for the way back through stages.
template <class T>
struct Back {
  Framed<T> filtered;  // the gradient of what the filter gives
  T* dv;               // a chunk
  T* values;           // a chunk of what the filter gives, computed again
  T* dx;               // the gradient of the rectified input, dense
};

template <class T>
Back<T> take_back(const Plan<T>& plan, Scratch<T>& scratch, int64_t pixels) {
  const int64_t chunk = plan.padded() * plan.chunk_rows() * plan.out_width;
  return {framed(scratch, plan.blocks, plan.out_height, plan.out_width, plan.halo, T(0)), scratch.take(chunk),
          scratch.take(chunk), scratch.take(plan.blocks * pixels * kBlock)};
}

// The two halves of a factorized reduction, each with the channels of the other masked.
template <class T>
void reduce_backward(const Plan<T>& plan, const Stage<T>& stage, const Framed<T>& in, const View<T>& g, const T* v,
                     const Back<T>& back, T* gradients, T* halves) {
  const int64_t step = plan.chunk_rows(), columns = plan.out_width, pixels = plan.out_pixels();
  const int64_t block = step * columns * kBlock, matrix = plan.padded() * plan.padded();
  for (int64_t begin = 0; begin < plan.out_height; begin += step) {
    const int64_t end = std::min(begin + step, plan.out_height), count = (end - begin) * columns;
    for (int half = 0; half < 2; ++half) {
      for (int64_t b = 0; b < plan.blocks; ++b) {
        T* dv = back.dv + b * block;
        norm_backward(stage.norm, b, g.at(b, begin * columns), g.pixel, v + (b * pixels + begin * columns) * kBlock,
                      count, dv);
        for (int64_t j = 0; j < count; ++j) {
          for (int64_t c = 0; c < kBlock; ++c) {
            if ((b * kBlock + c >= half_of(plan)) != (half == 1)) dv[j * kBlock + c] = T(0);
          }
        }
        gather_rows(plan, in, b, half, begin, end, back.values + b * block);
      }
      outer(back.dv, block, back.values, block, plan.blocks, gradients + stage.pointwise_at + half * matrix, count);
      product(back.dv, block, plan.blocks, stage.transposed + half * matrix, halves, block, count);
      for (int64_t b = 0; b < plan.blocks; ++b) {
        for (int64_t i = begin; i < end; ++i) {
          if (2 * i + half >= plan.height) continue;
          for (int64_t j = 0; 2 * j + half < plan.width; ++j) {
            T* to = back.dx + ((b * plan.height + 2 * i + half) * plan.width + 2 * j + half) * kBlock;
            const T* from = halves + b * block + ((i - begin) * columns + j) * kBlock;
            for (int c = 0; c < kBlock; ++c) to[c] += from[c];
          }
        }
      }
    }
  }
}

// What a stage reads: the gradient of its normalized value, and the value before the norm.
template <class T>
struct Pair {
  View<T> g, v;
};

// A stage on one image: the gradients of its weights, and of its rectified input. `next` is what the stage after it
// will read.
template <class T>
void stage_backward(const Plan<T>& plan, const Stage<T>& stage, const Framed<T>& in, const Pair<T>& now,
                    const Pair<T>& next, int64_t height, int64_t width, const Back<T>& back, T* gradients, bool add) {
  const int64_t step = plan.chunk_rows(), columns = plan.out_width;
  const int64_t block = step * columns * kBlock;
  for (int64_t begin = 0; begin < plan.out_height; begin += step) {
    const int64_t end = std::min(begin + step, plan.out_height), count = (end - begin) * columns;
    for (int64_t b = 0; b < plan.blocks; ++b) {
      norm_backward(stage.norm, b, now.g.at(b, begin * columns), now.g.pixel, now.v.at(b, begin * columns), count,
                    back.dv + b * block);
      depthwise_rows(plan, stage, in, b, begin, end, back.values + b * block, [&](int64_t i) {
        const bool within = i + step < plan.out_height;
        const int64_t first = (within ? i + step : i - begin) * columns;
        prefetch(within ? now.g : next.g, b, first, columns);
        prefetch(within ? now.v : next.v, b, first, columns);
      });
    }
    outer(back.dv, block, back.values, block, plan.blocks, gradients + stage.pointwise_at, count);
    for (int64_t i = begin; i < end; ++i)
      product(back.dv + (i - begin) * columns * kBlock, block, plan.blocks, stage.transposed, back.filtered.at(0, i, 0),
              back.filtered.block, columns);
  }
  const int k = stage.kernel, pad = stage.dilation * (k / 2);
  const WeightGradient<T> weight_gradient = weight_gradient_of<T>(k, stage.stride, stage.dilation);
  for (int64_t b = 0; b < plan.blocks; ++b) {
    weight_gradient(in.at(b, -pad, -pad), in.row, back.filtered.at(b, 0, 0), back.filtered.row, plan.out_height,
                    columns, gradients + stage.depthwise_at + b * k * k * kBlock);
    depthwise_transposed(stage, back.filtered, b, height, width, back.dx + b * height * width * kBlock, add);
  }
}

// Σ g and Σ g·(value − mean) over some pixels of one block.
template <class T>
void reduce_pixels(const Plan<T>& plan, const Terms<T>& terms, int64_t group, int64_t b, const T* g, int64_t g_step,
                   const T* x, int64_t x_step, int64_t count) {
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const int64_t c = b * kBlock + part;
    const auto dot = [&](const T* value, int64_t value_step, Vec<T> mean) __attribute__((always_inline)) {
      Vec<T> sum[4] = {};
      int64_t j = 0;
      for (; j + 4 <= count; j += 4) {
#pragma GCC unroll 4
        for (int l = 0; l < 4; ++l)
          sum[l] = fma(load(g + (j + l) * g_step + part), load(value + (j + l) * value_step + part) - mean, sum[l]);
      }
      for (; j < count; ++j)
        sum[0] = fma(load(g + j * g_step + part), load(value + j * value_step + part) - mean, sum[0]);
      return (sum[0] + sum[1]) + (sum[2] + sum[3]);
    };
    Vec<T> totals[2] = {};
    for (int64_t j = 0; j < count; ++j) {
      totals[0] += load(g + j * g_step + part);
      std::swap(totals[0], totals[1]);
    }
    const Vec<T> total = totals[0] + totals[1];
    for (int k = 0; k < terms.count; ++k) {
      double* sums = plan.sums_of(group, terms.norm_index[k]) + c;
      add_to_sums(sums, total);
      add_to_sums(sums + plan.padded(), dot(terms.row[k], kBlock, load(terms.norm[k]->mean + c)));
    }
    if (x != nullptr) add_to_sums(plan.sums_of(group, plan.norms()) + c, dot(x, x_step, Vec<T>{}));
  }
}

// Through the ReLU of a second stage, to the normalized value of the first, with the sums that its norm's gradient asks
// for: where the ReLU is open, its value is the normalized one.
template <class T>
void relu_backward(const Plan<T>& plan, const Framed<T>& hidden, int64_t b, const T* dh, T* du, double* sums) {
  const int64_t step = plan.chunk_rows(), width = plan.out_width;
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    for (int64_t begin = 0; begin < plan.out_height; begin += step) {
      Vec<T> sum[2] = {}, product[2] = {};
      for (int64_t i = begin; i < std::min(begin + step, plan.out_height); ++i) {
        const T *h = hidden.at(b, i, 0) + part, *from = dh + i * width * kBlock + part;
        T* to = du + i * width * kBlock + part;
        for (int64_t j = 0; j < width; ++j) {
          const Vec<T> value = load(h + j * kBlock);
          const Vec<T> d = value <= Vec<T>{} ? Vec<T>{} : load(from + j * kBlock);
          store(to + j * kBlock, d);
          sum[0] += d;
          product[0] = fma(d, value, product[0]);
          std::swap(sum[0], sum[1]);
          std::swap(product[0], product[1]);
        }
      }
      add_to_sums(sums + part, sum[0] + sum[1]);
      add_to_sums(sums + plan.padded() + part, product[0] + product[1]);
    }
  }
}

}  // namespace edge

template <class T>
void mixed_op_reduce(const Plan<T>& plan, int64_t group, T* memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  T *dense_x = scratch.take(plan.blocks * plan.pixels() * kBlock);
  T *dense_g = scratch.take(plan.blocks * plan.out_pixels() * kBlock);
  const int64_t step = plan.chunk_rows(), columns = plan.out_width;
  T *maxima = scratch.take(step * columns * kBlock), *averages = scratch.take(step * columns * kBlock);
  Terms<T> terms;
  for (int64_t n = plan.begin(group); n < plan.begin(group + 1); ++n) {
    const View<T> x = view_of(plan, plan.x, plan.x_pixel, n, plan.pixels(), dense_x);
    const View<T> g = view_of(plan, plan.grad, plan.grad_pixel, n, plan.out_pixels(), dense_g);
    for (int64_t i = 0; i < plan.out_height; i += step) {
      const int64_t end = std::min(i + step, plan.out_height);
      for (int64_t b = 0; b < plan.blocks; ++b) {
        terms_of(plan, x, n, b, i, end, maxima, averages, terms);
        reduce_pixels(plan, terms, group, b, g.at(b, i * columns), g.pixel,
                      plan.has_identity ? x.at(b, i * columns) : nullptr, x.pixel, (end - i) * columns);
      }
    }
  }
}

template <class T>
void mixed_op_second_backward(const Plan<T>& plan, int64_t group, T* memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  const int64_t pixels = plan.out_pixels(), height = plan.out_height, width = plan.out_width;
  T* dense = scratch.take(plan.blocks * pixels * kBlock);
  const Framed<T> hidden = framed(scratch, plan.blocks, height, width, plan.halo, T(0));
  const Back<T> back = take_back(plan, scratch, pixels);
  T* gradients = plan.weight_gradients + group * plan.weights;
  for (int64_t n = plan.begin(group); n < plan.begin(group + 1); ++n) {
    const View<T> g = view_of(plan, plan.grad, plan.grad_pixel, n, pixels, dense);
    for (int s = plan.first; s < plan.first + plan.second; ++s) {
      const Stage<T>& stage = plan.stages[s];
      const Stage<T>& from = plan.stages[stage.input];
      const bool last = s + 1 == plan.first + plan.second;
      const T* following = plan.stages[last ? plan.first : s + 1].v + (n + last) * image(plan);
      const View<T> v{stage.v + n * image(plan), pixels * kBlock, kBlock};
      const View<T> ahead{n + last < plan.images ? following : nullptr, pixels * kBlock, kBlock};
      fill_normalized(plan, from, from.v + n * image(plan), hidden);
      const Pair<T> now{g, v}, next{{nullptr, 0, 0}, ahead};
      stage_backward(plan, stage, hidden, now, next, height, width, back, gradients, false);
      for (int64_t b = 0; b < plan.blocks; ++b)
        relu_backward(plan, hidden, b, back.dx + b * pixels * kBlock,
                      from.gradient + n * image(plan) + b * pixels * kBlock,
                      plan.sums_of(group, stage.input) + b * kBlock);
    }
  }
}

namespace edge {

// A block's pools on their way back, and all that reaches dx, row by row.
template <class T>
struct Finish {
  Framed<T> raw;            // x, framed by −∞
  T *maxima, *averages;     // a row each
  T *d_max, *d_average;     // likewise
  T* window;                // three rows of what the pools give back, framed by a pixel
  T* out;                   // a row of dx
};

// Row i of dx: what came through the ReLU, from the pools and along the identity.
template <class T>
void finish_row(const Plan<T>& plan, const View<T>& x, const View<T>& g, int64_t b, int64_t i, const T* through,
                const T* pooled, T* out) {
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const T* value = x.at(b, i * plan.width) + part;
    const Vec<T> identity = all(plan.identity);
    for (int64_t j = 0; j < plan.width; ++j) {
      const int64_t at = j * kBlock + part;
      Vec<T> sum = {};
      if (through != nullptr) sum = load(value + j * x.pixel) <= Vec<T>{} ? Vec<T>{} : load(through + at);
      if (pooled != nullptr) sum += load(pooled + at);
      if (plan.has_identity) sum = fma(identity, load(g.at(b, i * plan.width + j) + part), sum);
      store(out + at, sum);
    }
  }
}

template <class T>
void finish(const Plan<T>& plan, const View<T>& x, const View<T>& g, int64_t n, int64_t b, const T* through,
            const Finish<T>& own) {
  const Sink<T> dx{plan.dx, plan.dx_pixel, plan.dx_addend, plan.dx_addend_pixel};
  const int64_t width = plan.width, columns = plan.out_width, size = (width + 3) * kBlock;
  const int s = plan.stride;
  const auto window = [&](int64_t row) { return own.window + (row + 3) % 3 * size; };
  const auto put = [&](int64_t i, const T* pooled) {
    finish_row(plan, x, g, b, i, through == nullptr ? nullptr : through + i * width * kBlock, pooled, own.out);
    put_pixels(plan, own.out, b, width, dx, n * plan.pixels() + i * width);
  };
  if (!plan.max_pool && !plan.avg_pool) {
    for (int64_t i = 0; i < plan.height; ++i) put(i, nullptr);
    return;
  }
  std::memset(own.window, 0, size_t(3 * size) * sizeof(T));
  int64_t done = 0;
  for (int64_t i = 0; i < plan.out_height; ++i) {
    const T* from = g.at(b, i * columns);
    pool_rows(plan, x, b, i, i + 1, own.maxima, own.averages);
    if (plan.max_pool) norm_backward(plan.max_norm, b, from, g.pixel, own.maxima, columns, own.d_max);
    if (plan.avg_pool) norm_backward(plan.avg_norm, b, from, g.pixel, own.averages, columns, own.d_average);
    T* const rows[3] = {window(s * i - 1), window(s * i), window(s * i + 1)};
    scatter_row(plan, own.raw, b, i, own.maxima, own.d_max, own.d_average, rows);
    // Rows that no further window reaches.
    const int64_t complete = i + 1 < plan.out_height ? s * (i + 1) - 1 : plan.height;
    for (; done < complete; ++done) {
      put(done, window(done) + kBlock);
      std::memset(window(done), 0, size_t(size) * sizeof(T));
    }
    // The row above the image, which shares its place with row 2.
    if (i == 0) std::memset(window(-1), 0, size_t(size) * sizeof(T));
  }
}

}  // namespace edge

template <class T>
void mixed_op_first_backward(const Plan<T>& plan, int64_t group, T* memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  const int64_t pixels = plan.pixels(), out_pixels = plan.out_pixels(), columns = plan.out_width;
  T* dense_x = scratch.take(plan.blocks * pixels * kBlock);
  T* dense_g = scratch.take(plan.blocks * out_pixels * kBlock);
  const bool pools = plan.max_pool || plan.avg_pool;
  const Framed<T> rectified = framed(scratch, plan.blocks, plan.height, plan.width, plan.halo, T(0));
  const Back<T> back = take_back(plan, scratch, pixels);
  T* halves = scratch.take(plan.padded() * plan.chunk_rows() * columns);
  const Finish<T> own{
      framed(scratch, plan.blocks, plan.height, plan.width, 1, -std::numeric_limits<T>::infinity()),
      scratch.take(columns * kBlock),
      scratch.take(columns * kBlock),
      scratch.zeros(columns * kBlock),
      scratch.zeros(columns * kBlock),
      scratch.take(3 * (plan.width + 3) * kBlock),
      scratch.take(plan.width * kBlock),
  };
  T* gradients = plan.weight_gradients + group * plan.weights;
  for (int64_t n = plan.begin(group); n < plan.begin(group + 1); ++n) {
    const View<T> x = view_of(plan, plan.x, plan.x_pixel, n, pixels, dense_x);
    const View<T> g = view_of(plan, plan.grad, plan.grad_pixel, n, out_pixels, dense_g);
    // The first convolution of stride 1 writes dx, whatever else comes adds to it.
    bool written = plan.stride == 1 && plan.first > 0;
    if (plan.first > 0) fill_relu(plan, rectified, x);
    if (plan.first > 0 && !written) std::memset(back.dx, 0, size_t(plan.blocks * pixels * kBlock) * sizeof(T));
    const auto pair_of = [&](int s, int64_t of) {
      const Stage<T>& stage = plan.stages[s];
      const View<T> v{stage.v + of * image(plan), out_pixels * kBlock, kBlock};
      return stage.last ? Pair<T>{of == n ? g : View<T>{nullptr, 0, 0}, v}
                        : Pair<T>{{stage.gradient + of * image(plan), out_pixels * kBlock, kBlock}, v};
    };
    for (int s = 0; s < plan.first; ++s) {
      const Stage<T>& stage = plan.stages[s];
      const Pair<T> now = pair_of(s, n);
      const Pair<T> next = s + 1 < plan.first        ? pair_of(s + 1, n)
                           : n + 1 < plan.images ? pair_of(0, n + 1)
                                                 : Pair<T>{};
      if (stage.kernel > 0) {
        stage_backward(plan, stage, rectified, now, next, plan.height, plan.width, back, gradients, !written);
      } else {
        reduce_backward(plan, stage, rectified, now.g, now.v.base, back, gradients, halves);
      }
      written = false;
    }
    if (pools) fill(own.raw, x, plan.blocks, plan.height, plan.width, Same<T>{});
    for (int64_t b = 0; b < plan.blocks; ++b)
      finish(plan, x, g, n, b, plan.first > 0 ? back.dx + b * pixels * kBlock : nullptr, own);
  }
}

}  // namespace BF_ISA
}  // namespace base_fast
