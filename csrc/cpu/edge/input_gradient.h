// The last backward pass: what reaches dx from the stages that read x, from the pools and along the identities.
#pragma once

#include "../blocked/pools.h"
#include "stages_backward.h"

namespace base_fast {
namespace BF_ISA {
namespace edge {

// A block's pools on their way back, and all that reaches dx, row by row.
template <class T>
struct InputGradientRows {
  PaddedImage<T> raw;    // x, padded by −∞
  T *maximum, *average;  // a row of gradients of each pool's value
  T* window;             // three rows of what the pools give back, padded by a pixel
  T* out;                // a row of dx, where it is not written in place
  InputGradientRows(const Plan<T>& plan, Scratch<T>& scratch)
      : raw(padded_image(scratch, plan.blocks, plan.height, plan.width, 1, -std::numeric_limits<T>::infinity())),
        maximum(scratch.take(plan.out_width * kBlock)),
        average(scratch.take(plan.out_width * kBlock)),
        window(scratch.take(3 * window_row(plan))),
        out(scratch.take(plan.width * kBlock)) {}
  static int64_t window_row(const Plan<T>& plan) { return (plan.width + 3) * kBlock; }
};

// Row i of dx: what came through the ReLU, from the pools and along the identities, whose Σ g·x is taken along.
template <class T>
void input_gradient_row(const Plan<T>& plan, const View<T>& x, const OutputGradients<T>& output_gradients,
                        int64_t group, int64_t b, int64_t i, const T* through, const T* pooled, const Strided<T>& out) {
  for (int part = 0; part < kBlock; part += kWidth<T>) {
    const T* value = x.at(b, i * plan.width) + part;
    for (int64_t j = 0; j < plan.width; ++j) {
      const int64_t at = j * kBlock + part;
      Vec<T> sum = {};
      if (through != nullptr) sum = load(value + j * x.pixel) <= Vec<T>{} ? Vec<T>{} : load(through + at);
      if (pooled != nullptr) sum += load(pooled + at);
      store(out.at(j) + part, sum);
    }
    for (int t = 0; t < plan.count; ++t) {
      if (!plan.outputs[t].has_identity) continue;
      const Vec<T> identity = all(plan.outputs[t].identity);
      const View<T> g = output_gradients[t];
      const T* from = g.at(b, i * plan.width) + part;
      Vec<T> product[2] = {};
      for (int64_t j = 0; j < plan.width; ++j) {
        T* to = out.at(j) + part;
        const Vec<T> gradient = load(from + j * g.pixel);
        store(to, fma(identity, gradient, load(to)));
        product[0] = fma(gradient, load(value + j * x.pixel), product[0]);
        std::swap(product[0], product[1]);
      }
      add_to_sums(plan.sums_of(group, plan.norms() + t) + b * kBlock + part, product[0] + product[1]);
    }
  }
}

// Output row i's gradients of both pools' values, but for what is the same for all edges together.
template <class T>
void pool_gradients(const Plan<T>& plan, const OutputGradients<T>& output_gradients, int64_t b, int64_t i,
                    const InputGradientRows<T>& own) {
  const int64_t columns = plan.out_width;
  bool max_written = false, avg_written = false;
  for (int t = 0; t < plan.count; ++t) {
    const EdgeOutput<T>& output = plan.outputs[t];
    const View<T> g = output_gradients[t];
    const auto add = [&](const T* gains, T* row, bool& written) __attribute__((always_inline)) {
      for (int part = 0; part < kBlock; part += kWidth<T>) {
        const Vec<T> gain = load(gains + b * kBlock + part);
        const T* from = g.at(b, i * columns) + part;
        for (int64_t j = 0; j < columns; ++j) {
          T* to = row + j * kBlock + part;
          store(to, fma(gain, load(from + j * g.pixel), written ? load(to) : Vec<T>{}));
        }
      }
      written = true;
    };
    if (output.max_pool) add(output.max_norm.gain, own.maximum, max_written);
    if (output.avg_pool) add(output.avg_norm.gain, own.average, avg_written);
  }
}

template <class T>
void input_gradient(const Plan<T>& plan, const View<T>& x, const OutputGradients<T>& output_gradients, int64_t group,
                    int64_t n, int64_t b, const T* through, const InputGradientRows<T>& own, bool has_nan) {
  const int64_t width = plan.width, size = InputGradientRows<T>::window_row(plan);
  const int s = plan.stride;
  const auto window = [&](int64_t row) { return own.window + (row + 3) % 3 * size; };
  const auto put = [&](int64_t i, const T* pooled) {
    const T* row = through == nullptr ? nullptr : through + i * width * kBlock;
    const int64_t first = n * plan.pixels() + i * width;
    if (!is_copied(plan) && plan.dx_addend == nullptr)
      return input_gradient_row(plan, x, output_gradients, group, b, i, row, pooled,
                                in_place<T>(plan.dx, plan.dx_pixel, first, b));
    input_gradient_row<T>(plan, x, output_gradients, group, b, i, row, pooled, {own.out, kBlock});
    put_pixels(plan, own.out, b, width, {plan.dx, plan.dx_pixel, plan.dx_addend, plan.dx_addend_pixel}, first);
  };
  if (!plan.max_pool && !plan.avg_pool) {
    for (int64_t i = 0; i < plan.height; ++i) put(i, nullptr);
    return;
  }
  std::memset(own.window, 0, size_t(3 * size) * sizeof(T));
  int64_t done = 0;
  for (int64_t i = 0; i < plan.out_height; ++i) {
    pool_gradients(plan, output_gradients, b, i, own);
    const T* const raw[3] = {own.raw.at(b, s * i - 1, -1), own.raw.at(b, s * i, -1), own.raw.at(b, s * i + 1, -1)};
    T* const rows[3] = {window(s * i - 1), window(s * i), window(s * i + 1)};
    scatter_row<T>(plan.height, width, s, pools_of(plan.max_pool, plan.avg_pool), has_nan, i, raw, rows,
                   [&](int part) __attribute__((always_inline)) {
                     const int64_t c = b * kBlock + part;
                     const ThroughNorm<T> maximum(plan.max_norm, c), mean(plan.avg_norm, c);
                     const T *to_maximum = own.maximum + part, *to_average = own.average + part;
                     const bool max_pool = plan.max_pool, avg_pool = plan.avg_pool;
                     return [=](int64_t j, Vec<T> high, Vec<T> average) __attribute__((always_inline)) {
                       return Gradients<T>{max_pool ? maximum(load(to_maximum + j * kBlock), high) : Vec<T>{},
                                           avg_pool ? mean(load(to_average + j * kBlock), average) : Vec<T>{}};
                     };
                   });
    // Rows that no further window reaches.
    const int64_t complete = i + 1 < plan.out_height ? s * (i + 1) - 1 : plan.height;
    for (; done < complete; ++done) put(done, window(done) + kBlock);
  }
}

template <class T>
struct FirstStagesBackwardScratch {
  T* x;
  OutputGradients<T> output_gradients;
  PaddedImage<T> rectified;
  BackwardScratch<T> back;
  T* halves;  // a chunk of what one half of a factorized reduction gives back
  InputGradientRows<T> rows;
  FirstStagesBackwardScratch(const Plan<T>& plan, Scratch<T>& scratch)
      : x(take_x(plan, scratch)),
        output_gradients(plan, scratch),
        rectified(padded_x(plan, scratch)),
        back(plan, scratch, plan.pixels()),
        halves(scratch.take(plan.chunk())),
        rows(plan, scratch) {}
};

}  // namespace edge

template <class T>
void mixed_op_first_stages_backward(const Plan<T>& plan, int64_t group, const Workspace<T>& memory) {
  using namespace edge;
  const FlushDenormals flush;
  Scratch<T> scratch{memory};
  FirstStagesBackwardScratch<T> own(plan, scratch);
  const int64_t pixels = plan.pixels();
  const bool pools = plan.max_pool || plan.avg_pool;
  clear_gradients(plan, group, 0, plan.first);
  each_image(plan, group, memory, [&](const CurrentImage& current) {
    const int64_t n = current.image;
    const View<T> x = view_of(plan, plan.x, plan.x_pixel, n, pixels, own.x);
    own.output_gradients.move_to(n);
    with_storage<T>(plan.value_storage, [&](auto* type) {
      using S = std::remove_pointer_t<decltype(type)>;
      if (plan.first > 0)
        first_stages_backward<S>(plan, current, x, own.output_gradients, own.rectified, own.back, own.halves);
    });
    Ints<T> nans = {};
    if (pools) {
      fill(own.rows.raw, x, plan.blocks, plan.height, plan.width,
           [&](Vec<T> v, int64_t) __attribute__((always_inline)) {
             nans |= v != v;
             return v;
           });
    }
    for (int64_t b = 0; b < plan.blocks; ++b)
      input_gradient(plan, x, own.output_gradients, group, n, b,
                     plan.first > 0 ? own.back.dx + b * pixels * kBlock : nullptr, own.rows, any(nans));
  });
}

}  // namespace BF_ISA
}  // namespace base_fast
