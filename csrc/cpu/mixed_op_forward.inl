// The three forward passes.
namespace base_fast {
namespace BF_ISA {
namespace edge {

// relu(x), framed by zeros; the frame of `to` is written once and stays.
template <class T>
void fill_relu(const Plan<T>& plan, const Framed<T>& to, const View<T>& x) {
  fill(to, x, plan.blocks, plan.height, plan.width, Rectified<T>{});
}

// A block's rows [begin, end) of a stage's depthwise convolution, dense; `ahead(i)` is called between rows.
template <class T, class F>
void depthwise_rows(const Plan<T>& plan, const Stage<T>& stage, const Framed<T>& in, int64_t b, int64_t begin,
                    int64_t end, T* out, const F& ahead) {
  const int k = stage.kernel, d = stage.dilation, s = stage.stride, pad = d * (k / 2);
  const CorrelateRow<T> correlate = correlate_of<T>(k, s, d);
  for (int64_t i = begin; i < end; ++i, out += plan.out_width * kBlock) {
    ahead(i);
    correlate(in.at(b, i * s - pad, -pad), d * in.row, k, stage.depthwise + b * k * k * kBlock, out, kBlock,
              plan.out_width, false);
  }
}

// Every other pixel of a block, from (shift, shift) on, rows [begin, end) of the output.
template <class T>
void gather_rows(const Plan<T>& plan, const Framed<T>& in, int64_t b, int64_t shift, int64_t begin, int64_t end,
                 T* out) {
  for (int64_t i = begin; i < end; ++i) {
    const T* from = in.at(b, 2 * i + shift, shift);
    for (int64_t j = 0; j < plan.out_width; ++j, from += 2 * kBlock, out += kBlock)
      std::memcpy(out, from, kBlock * sizeof(T));
  }
}

// Where a factorized reduction's second half of the output channels begins.
template <class T>
int64_t half_of(const Plan<T>& plan) {
  return plan.channels / 2;
}

// A stage on one image: v and its moments. `chunk` and `other` hold a chunk of all blocks. `next`, of `next_pixels`, is
// what will be read after this stage, if not null.
template <class T>
void stage_forward(const Plan<T>& plan, const Stage<T>& stage, const Framed<T>& in, T* v, T* chunk, T* other,
                   Moments<T>& moments, const View<T>& next, int64_t next_pixels) {
  const int64_t step = plan.chunk_rows(), columns = plan.out_width, pixels = plan.out_pixels();
  const int64_t chunk_block = step * columns * kBlock;
  const View<T> own{v, pixels * kBlock, kBlock};
  const int64_t share = (next_pixels + plan.out_height - 1) / plan.out_height;
  moments.reset();
  for (int64_t begin = 0; begin < plan.out_height; begin += step) {
    const int64_t end = std::min(begin + step, plan.out_height), count = (end - begin) * columns;
    T* out = v + begin * columns * kBlock;
    if (stage.kernel > 0) {
      for (int64_t b = 0; b < plan.blocks; ++b)
        depthwise_rows(plan, stage, in, b, begin, end, chunk + b * chunk_block, [&](int64_t i) {
          prefetch(own, b, i * columns, columns);
          prefetch(next, b, i * share, std::min(share, next_pixels - i * share));
        });
      product(chunk, chunk_block, plan.blocks, stage.pointwise, out, pixels * kBlock, count);
    } else {
      // Each half apart, so that an infinity among the pixels of one does not meet zeros of the other.
      const int64_t half = half_of(plan), matrix = plan.padded() * plan.padded();
      for (int64_t b = 0; b < plan.blocks; ++b) gather_rows(plan, in, b, 0, begin, end, chunk + b * chunk_block);
      product(chunk, chunk_block, plan.blocks, stage.pointwise, out, pixels * kBlock, count);
      for (int64_t b = 0; b < plan.blocks; ++b) gather_rows(plan, in, b, 1, begin, end, chunk + b * chunk_block);
      product(chunk, chunk_block, plan.blocks, stage.pointwise + matrix, other, chunk_block, count);
      for (int64_t b = 0; b < plan.blocks; ++b) {
        for (int64_t j = 0; j < count; ++j) {
          for (int64_t c = std::max<int64_t>(0, half - b * kBlock); c < kBlock; ++c)
            out[b * pixels * kBlock + j * kBlock + c] = other[b * chunk_block + j * kBlock + c];
        }
      }
    }
    for (int64_t b = 0; b < plan.blocks; ++b) moments.add(b, out + b * pixels * kBlock, count);
    moments.empty = false;
  }
}

// The input of a second stage: the first's values, normalized and rectified.
template <class T>
void fill_normalized(const Plan<T>& plan, const Stage<T>& from, const T* v, const Framed<T>& to) {
  const View<T> view{v, plan.out_pixels() * kBlock, kBlock};
  fill(to, view, plan.blocks, plan.out_height, plan.out_width, Normalized<T>{from.norm});
}

// Elements of one image inside.
template <class T>
int64_t image(const Plan<T>& plan) {
  return plan.blocks * plan.out_pixels() * kBlock;
}

}  // namespace edge

template <class T>
void mixed_op_first(const Plan<T>& plan, int64_t group, T* memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  const int64_t begin = plan.begin(group);
  const int64_t chunk = plan.padded() * plan.chunk_rows() * plan.out_width;
  T* dense = scratch.take(plan.blocks * plan.pixels() * kBlock);
  const Framed<T> rectified = framed(scratch, plan.blocks, plan.height, plan.width, plan.halo, T(0));
  T *one = scratch.take(chunk), *other = scratch.take(chunk);
  Moments<T> moments = Moments<T>::take(scratch, plan.padded());
  Moments<T> averages = Moments<T>::take(scratch, plan.padded());
  for (int64_t n = begin; n < plan.begin(group + 1); ++n) {
    const View<T> x = view_of(plan, plan.x, plan.x_pixel, n, plan.pixels(), dense);
    const int64_t before = (n - begin) * plan.out_pixels();
    const auto merge = [&](const Moments<T>& m, int norm) {
      double* sums = plan.sums_of(group, norm);
      m.merge(sums, sums + plan.padded(), before, plan.out_pixels());
    };
    if (plan.first > 0) fill_relu(plan, rectified, x);
    for (int s = 0; s < plan.first; ++s) {
      // The next image, during the last stage. Where it has to be repacked first, nothing is gained.
      const bool last = s + 1 == plan.first && n + 1 < plan.images && plan.channels == plan.padded();
      const View<T> next{last ? x.base + plan.pixels() * x.pixel : nullptr, x.block, x.pixel};
      stage_forward(plan, plan.stages[s], rectified, plan.stages[s].v + n * image(plan), one, other, moments, next,
                    plan.pixels());
      merge(moments, s);
    }
    if (!plan.max_pool && !plan.avg_pool) continue;
    moments.reset();
    averages.reset();
    for (int64_t i = 0; i < plan.out_height; i += plan.chunk_rows()) {
      const int64_t end = std::min(i + plan.chunk_rows(), plan.out_height), count = (end - i) * plan.out_width;
      for (int64_t b = 0; b < plan.blocks; ++b) {
        pool_rows(plan, x, b, i, end, one, other);
        moments.add(b, one, count);
        averages.add(b, other, count);
      }
      moments.empty = averages.empty = false;
    }
    merge(moments, plan.norms() - 2);
    merge(averages, plan.norms() - 1);
  }
}

template <class T>
void mixed_op_second(const Plan<T>& plan, int64_t group, T* memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  const int64_t begin = plan.begin(group);
  const int64_t chunk = plan.padded() * plan.chunk_rows() * plan.out_width;
  const Framed<T> hidden = framed(scratch, plan.blocks, plan.out_height, plan.out_width, plan.halo, T(0));
  T *one = scratch.take(chunk), *other = scratch.take(chunk);
  Moments<T> moments = Moments<T>::take(scratch, plan.padded());
  for (int64_t n = begin; n < plan.begin(group + 1); ++n) {
    for (int s = plan.first; s < plan.first + plan.second; ++s) {
      const Stage<T>& stage = plan.stages[s];
      const Stage<T>& from = plan.stages[stage.input];
      fill_normalized(plan, from, from.v + n * image(plan), hidden);
      const bool last = s + 1 == plan.first + plan.second;
      const T* next = plan.stages[plan.stages[last ? plan.first : s + 1].input].v + (n + last) * image(plan);
      const View<T> ahead{n + last < plan.images ? next : nullptr, plan.out_pixels() * kBlock, kBlock};
      stage_forward(plan, stage, hidden, stage.v + n * image(plan), one, other, moments, ahead, plan.out_pixels());
      double* sums = plan.sums_of(group, s);
      moments.merge(sums, sums + plan.padded(), (n - begin) * plan.out_pixels(), plan.out_pixels());
    }
  }
}

namespace edge {

// What y sums, some rows of one block at a time: the values of the last stages, and both pools.
template <class T>
struct Terms {
  const T* row[64];
  const Norm<T>* norm[64];
  int norm_index[64];
  int count;
};

template <class T>
void add_term(Terms<T>& terms, const T* row, const Norm<T>* norm, int index) {
  terms.row[terms.count] = row;
  terms.norm[terms.count] = norm;
  terms.norm_index[terms.count++] = index;
}

template <class T>
void terms_of(const Plan<T>& plan, const View<T>& x, int64_t n, int64_t b, int64_t begin, int64_t end, T* maxima,
              T* averages, Terms<T>& terms) {
  terms.count = 0;
  for (int s = 0; s < plan.first + plan.second; ++s) {
    const Stage<T>& stage = plan.stages[s];
    if (stage.last)
      add_term(terms, stage.v + n * image(plan) + (b * plan.out_pixels() + begin * plan.out_width) * kBlock,
               &stage.norm, s);
  }
  if (plan.max_pool || plan.avg_pool) pool_rows(plan, x, b, begin, end, maxima, averages);
  if (plan.max_pool) add_term(terms, maxima, &plan.max_norm, plan.norms() - 2);
  if (plan.avg_pool) add_term(terms, averages, &plan.avg_norm, plan.norms() - 1);
}

// y: constant + Σ gain·(value − mean) + identity·x, N pixels at a time.
template <class T, int N>
BF_INLINE void sum_tile(const Terms<T>& terms, int64_t c, int64_t at, Vec<T> constant, Vec<T> identity, const T* x,
                        int64_t x_step, T* y) {
  Vec<T> sum[N];
#pragma GCC unroll 16
  for (int j = 0; j < N; ++j) sum[j] = x == nullptr ? constant : fma(identity, load(x + j * x_step), constant);
  for (int k = 0; k < terms.count; ++k) {
    const Vec<T> gain = load(terms.norm[k]->gain + c), mean = load(terms.norm[k]->mean + c);
    const T* row = terms.row[k] + at;
#pragma GCC unroll 16
    for (int j = 0; j < N; ++j) sum[j] = fma(gain, load(row + j * kBlock) - mean, sum[j]);
  }
#pragma GCC unroll 16
  for (int j = 0; j < N; ++j) store(y + j * kBlock, sum[j]);
}

template <class T>
void sum_pixels(const Plan<T>& plan, const Terms<T>& terms, int64_t b, const T* x, int64_t x_step, int64_t count,
                T* y) {
  constexpr int N = kRegisters == 32 ? 8 : 4;
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const int64_t c = b * kBlock + part;
    const Vec<T> constant = load(plan.constant + c), identity = all(plan.identity);
    const auto from = [&](int64_t j) { return x == nullptr ? nullptr : x + part + j * x_step; };
    int64_t j = 0;
    for (; j + N <= count; j += N)
      sum_tile<T, N>(terms, c, part + j * kBlock, constant, identity, from(j), x_step, y + part + j * kBlock);
    for (; j < count; ++j)
      sum_tile<T, 1>(terms, c, part + j * kBlock, constant, identity, from(j), x_step, y + part + j * kBlock);
  }
}

}  // namespace edge

template <class T>
void mixed_op_sum(const Plan<T>& plan, int64_t group, T* memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  T* dense = scratch.take(plan.blocks * plan.pixels() * kBlock);
  const int64_t step = plan.chunk_rows(), columns = plan.out_width;
  T *maxima = scratch.take(step * columns * kBlock), *averages = scratch.take(step * columns * kBlock);
  T* sums = scratch.take(step * columns * kBlock);
  const Sink<T> y{plan.y, plan.y_pixel, plan.y_addend, plan.y_addend_pixel};
  Terms<T> terms;
  for (int64_t n = plan.begin(group); n < plan.begin(group + 1); ++n) {
    const View<T> x = view_of(plan, plan.x, plan.x_pixel, n, plan.pixels(), dense);
    for (int64_t i = 0; i < plan.out_height; i += step) {
      const int64_t end = std::min(i + step, plan.out_height), count = (end - i) * columns;
      for (int64_t b = 0; b < plan.blocks; ++b) {
        terms_of(plan, x, n, b, i, end, maxima, averages, terms);
        sum_pixels(plan, terms, b, plan.has_identity ? x.at(b, i * columns) : nullptr, x.pixel, count, sums);
        put_pixels(plan, sums, b, count, y, n * plan.out_pixels() + i * columns);
      }
    }
  }
}

template <class T>
int64_t mixed_op_scratch(const Plan<T>& plan) {
  const int64_t padded = plan.padded(), frame = 2 * plan.halo;
  const int64_t image = plan.pixels(), out = plan.out_pixels(), chunk = plan.chunk_rows() * plan.out_width;
  const int64_t framed_in = (plan.height + frame) * (plan.width + frame) + 2 * (plan.height + 2) * (plan.width + 2);
  const int64_t framed_out = 2 * (plan.out_height + frame) * (plan.out_width + frame);
  const int64_t rows = 4 * plan.out_width + 6 * (plan.width + 2);
  return (2 * image + out + 7 * chunk + framed_in + framed_out + rows + 32) * padded + 32 * edge::Scratch<T>::kStagger;
}

}  // namespace BF_ISA
}  // namespace base_fast
