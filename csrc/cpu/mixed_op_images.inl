// Images on their way from and to NHWC, and their moments.
namespace base_fast {
namespace BF_ISA {
namespace edge {

// An image of a group, and the one that the thread will come to next, or −1.
struct Turn {
  int64_t group, image, next;
};
template <class T, class F>
void each_image(const Plan<T>& plan, int64_t group, const Workspace<T>& work, const F& f) {
  const int64_t end = plan.begin(group + 1), after = work.next_group < 0 ? -1 : plan.begin(work.next_group);
  for (int64_t n = plan.begin(group); n < end; ++n) f(Turn{group, n, n + 1 < end ? n + 1 : after});
}

// An image by blocks of channels, of numbers as they are stored.
template <class S>
struct View {
  const S* base;
  int64_t block;  // elements from one block to the next
  int64_t pixel;  // and from one pixel to the next
  const S* at(int64_t b, int64_t p) const { return base + b * block + p * pixel; }
};

// Puts `count` pixels on the list of what is asked for ahead, unless nobody knows them yet.
template <class S>
void add_view(Ahead& ahead, const View<S>& view, int64_t blocks, int64_t first, int64_t count) {
  if (view.base == nullptr) return;
  if (view.block == kBlock) return ahead.add(view.at(0, first), count, view.pixel, blocks * kBlock);
  for (int64_t b = 0; b < blocks; ++b) ahead.add(view.at(b, first), count, view.pixel, kBlock);
}

// `count` pixels of a block, computed numbers from stored ones or the other way round.
template <class From, class To>
BF_INLINE void copy_pixels(const From* from, int64_t from_step, int64_t count, To* to, int64_t to_step) {
  constexpr int kStep = kBytes / int(std::max(sizeof(From), sizeof(To)));
  for (int64_t j = 0; j < count; ++j, from += from_step, to += to_step) {
#pragma GCC unroll 8
    for (int part = 0; part < kBlock; part += kStep) store(to + part, load(from + part));
  }
}

// Where the channels fill their blocks, an NHWC image serves as it stands; else it is copied to scratch memory.
template <class T>
bool is_copied(const Plan<T>& plan) {
  return plan.image_storage != Storage::own || plan.channels != plan.padded();
}

// Image n of those at `images`, whose pixels are `pixel` elements apart, or of its copy.
template <class T>
View<T> stored_view(const Plan<T>& plan, const void* images, int64_t pixel, int64_t n, int64_t pixels, T* scratch) {
  if (is_copied(plan)) return {scratch, pixels * kBlock, kBlock};
  return {static_cast<const T*>(images) + n * pixels * pixel, kBlock, pixel};
}

// The same, copied if need be, with zeros where there are no channels.
template <class T>
View<T> view_of(const Plan<T>& plan, const void* images, int64_t pixel, int64_t n, int64_t pixels, T* scratch) {
  const View<T> view = stored_view(plan, images, pixel, n, pixels, scratch);
  if (!is_copied(plan)) return view;
  with_storage<T>(plan.image_storage, [&](auto* own) {
    const auto* image = static_cast<decltype(own)>(const_cast<void*>(images)) + n * pixels * pixel;
    for (int64_t b = 0; b < plan.blocks; ++b) {
      const int64_t channels = plan.channels - b * kBlock;
      const auto* from = image + b * kBlock;
      T* to = scratch + b * pixels * kBlock;
      if (channels >= kBlock) {
        copy_pixels(from, pixel, pixels, to, kBlock);
        continue;
      }
      for (int64_t p = 0; p < pixels; ++p, from += pixel, to += kBlock) {
        for (int64_t c = 0; c < kBlock; ++c) to[c] = c < channels ? to_float(from[c]) : T(0);
      }
    }
  });
  return view;
}

// The gradients that come back from the targets, of one image at a time.
template <class T>
class Incoming {
 public:
  Incoming(const Plan<T>& plan, Scratch<T>& scratch) : plan_(plan), size_(plan.blocks * plan.out_pixels() * kBlock) {
    copies_ = scratch.take(plan.count * size_);
  }
  void turn_to(int64_t n) {
    image_ = n;
    for (int t = 0; t < plan_.count; ++t) {
      const Target<T>& target = plan_.targets[t];
      view_of(plan_, target.grad, target.grad_pixel, n, plan_.out_pixels(), copies_ + t * size_);
    }
  }
  View<T> operator[](int t) const {
    const Target<T>& target = plan_.targets[t];
    return stored_view(plan_, target.grad, target.grad_pixel, image_, plan_.out_pixels(), copies_ + t * size_);
  }

 private:
  const Plan<T>& plan_;
  int64_t size_, image_ = 0;
  T* copies_;
};

// Pixels of one block, `step` elements apart, or none.
template <class E>
struct Strided {
  E* base;
  int64_t step;
  E* at(int64_t j) const { return base + j * step; }
};

// Block b's of NHWC images, from pixel `first` of all on, for channels that fill their blocks.
template <class E, class Any>
Strided<E> in_place(Any* images, int64_t pixel, int64_t first, int64_t b) {
  return {images == nullptr ? nullptr : static_cast<E*>(images) + first * pixel + b * kBlock, pixel};
}

// Where results go: NHWC images, and what is added to them.
struct Sink {
  void* base;
  int64_t pixel;
  const void* addend;  // or null
  int64_t addend_pixel;
};

// Pixels of block b, to pixel `first` on of all images'.
template <class T>
void put_pixels(const Plan<T>& plan, const T* values, int64_t b, int64_t count, const Sink& sink, int64_t first) {
  const int64_t channels = plan.channels - b * kBlock;
  with_storage<T>(plan.image_storage, [&](auto* own) {
    using S = std::remove_pointer_t<decltype(own)>;
    const T* from = values;
    S* to = static_cast<S*>(sink.base) + first * sink.pixel + b * kBlock;
    if (sink.addend == nullptr && channels >= kBlock) return copy_pixels(from, kBlock, count, to, sink.pixel);
    const S* addend =
        sink.addend == nullptr ? nullptr : static_cast<const S*>(sink.addend) + first * sink.addend_pixel + b * kBlock;
    for (int64_t j = 0; j < count; ++j, from += kBlock, to += sink.pixel) {
      if (channels >= kBlock) {
        for (int part = 0; part < kBlock; part += kWidth<T>) store(to + part, load(addend + part) + load(from + part));
      } else {
        for (int64_t c = 0; c < channels; ++c)
          to[c] = from_float<S>(addend == nullptr ? from[c] : to_float(addend[c]) + from[c]);
      }
      if (addend != nullptr) addend += sink.addend_pixel;
    }
  });
}

// An image with a frame around each block.
template <class T>
struct Framed {
  T* base;
  int64_t row;    // elements from one row to the next
  int64_t block;  // and from one block to the next
  int64_t frame;  // pixels
  // Pixel (i, j), from −frame on.
  T* at(int64_t b, int64_t i, int64_t j) const { return base + b * block + (i + frame) * row + (j + frame) * kBlock; }
};

// The frame holds `value`; the image is yet to be written.
template <class T>
Framed<T> framed(Scratch<T>& scratch, int64_t blocks, int64_t height, int64_t width, int64_t frame, T value) {
  const int64_t row = (width + 2 * frame) * kBlock, block = (height + 2 * frame) * row, side = frame * kBlock;
  T* base = scratch.take(blocks * block);
  for (int64_t b = 0; b < blocks && scratch.fresh; ++b) {
    for (int64_t i = -frame; i < height + frame; ++i) {
      T* p = base + b * block + (i + frame) * row;
      const bool outside = i < 0 || i >= height;
      for (int64_t j = 0; j < (outside ? row : side); ++j) p[j] = value;
      for (int64_t j = row - side; j < row && !outside; ++j) p[j] = value;
    }
  }
  return {base, row, block, frame};
}

// f of every vector of an image, into a framed one.
template <class T, class S, class F>
BF_INLINE void fill(const Framed<T>& to, const View<S>& from, int64_t blocks, int64_t height, int64_t width, const F& f) {
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t i = 0; i < height; ++i) {
      const S* p = from.at(b, i * width);
      T* q = to.at(b, i, 0);
      for (int64_t j = 0; j < width; ++j, p += from.pixel, q += kBlock) {
#pragma GCC unroll 8
        for (int part = 0; part < kBlock; part += kWidth<T>)
          store(q + part, f(load(p + part), b * kBlock + part));
      }
    }
  }
}

template <class T>
struct Rectified {
  BF_INLINE Vec<T> operator()(Vec<T> v, int64_t) const { return relu(v); }
};
template <class T>
struct Normalized {
  const Norm<T>& norm;
  BF_INLINE Vec<T> operator()(Vec<T> v, int64_t c) const {
    return relu(fma(v - load(norm.mean + c), load(norm.rstd + c), load(norm.offset + c)));
  }
};

// Adds the lanes of v to as many doubles.
BF_INLINE void add_to_sums(double* to, Vec<double> v) { store(to, load(to) + v); }
BF_INLINE void add_to_sums(double* to, Vec<float> v) {
  typedef float Half __attribute__((vector_size(kBytes / 2)));
  Half halves[2];
  std::memcpy(halves, &v, sizeof(v));
  for (int i = 0; i < 2; ++i) {
    double* half = to + i * kWidth<double>;
    store(half, load(half) + __builtin_convertvector(halves[i], Vec<double>));
  }
}

// Sums of x − shift and (x − shift)², where the shift is the first value: at a mean far from zero, plain sums would
// have no digits left for the variance. In T within a chunk, in double over chunks.
template <class T>
struct Moments {
  T* shift;
  double* first;
  double* second;
  int64_t padded;
  bool empty;

  static Moments take(Scratch<T>& scratch, int64_t padded) {
    constexpr int64_t kPerDouble = sizeof(double) / sizeof(T);
    T* shift = scratch.take(padded);
    double* sums = reinterpret_cast<double*>(scratch.take(2 * padded * kPerDouble));
    return {shift, sums, sums + padded, padded, true};
  }
  void reset() {
    empty = true;
    std::memset(first, 0, size_t(2 * padded) * sizeof(double));
  }
  // `count` pixels of block b. The first call for a block must come while `empty` holds.
  void add(int64_t b, const T* x, int64_t count) {
    for (int64_t part = b * kBlock; part < (b + 1) * kBlock; part += kWidth<T>) {
      const T* p = x + (part - b * kBlock);
      if (empty) store(shift + part, load(p));
      const Vec<T> s = load(shift + part);
      Vec<T> sum[4] = {}, square[4] = {};
      int64_t j = 0;
      for (; j + 4 <= count; j += 4, p += 4 * kBlock) {
#pragma GCC unroll 4
        for (int l = 0; l < 4; ++l) {
          const Vec<T> d = load(p + l * kBlock) - s;
          sum[l] += d;
          square[l] = fma(d, d, square[l]);
        }
      }
      for (; j < count; ++j, p += kBlock) {
        const Vec<T> d = load(p) - s;
        sum[0] += d;
        square[0] = fma(d, d, square[0]);
      }
      add_to_sums(first + part, (sum[0] + sum[1]) + (sum[2] + sum[3]));
      add_to_sums(second + part, (square[0] + square[1]) + (square[2] + square[3]));
    }
  }
  // Merge `count` values per channel into the mean and Σ(x − mean)² of `before` others (Chan et al. 1979).
  void merge(double* mean, double* square, int64_t before, int64_t count) const {
    for (int64_t c = 0; c < padded; ++c) {
      const double m = shift[c] + first[c] / double(count), s = second[c] - first[c] * first[c] / double(count);
      const double delta = m - mean[c], part = double(count) / double(before + count);
      mean[c] = before == 0 ? m : mean[c] + delta * part;
      square[c] = before == 0 ? s : square[c] + s + delta * delta * double(before) * part;
    }
  }
};

}  // namespace edge
}  // namespace BF_ISA
}  // namespace base_fast
