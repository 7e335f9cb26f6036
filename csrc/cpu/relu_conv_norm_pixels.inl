// Pixels on their way from and to memory.
namespace base_fast {
namespace BF_ISA {
namespace conv {

using namespace edge;

// Pixels in blocks of channels, [block][pixel][16].
template <class T>
struct Chunk {
  T* base;
  int64_t block;  // elements from one block to the next
  // Channel c of pixel k; a vector where c is a multiple of one.
  T* at(int64_t c, int64_t k) const { return base + c / kBlock * block + k * kBlock + c % kBlock; }
};

BF_INLINE Vec<float> read(const float* p) { return load(p); }
BF_INLINE Vec<double> read(const double* p) { return load(p); }
BF_INLINE void write(float* p, Vec<float> v) { store(p, v); }
BF_INLINE void write(double* p, Vec<double> v) { store(p, v); }

typedef uint16_t Halves __attribute__((vector_size(kBytes / 2), aligned(2), may_alias));
typedef uint32_t Words __attribute__((vector_size(kBytes)));
BF_INLINE Vec<float> read(const bfloat16* p) {
  return (Vec<float>)(__builtin_convertvector(*reinterpret_cast<const Halves*>(p), Words) << 16);
}
// To the nearest, ties to even.
BF_INLINE void write(bfloat16* p, Vec<float> v) {
  const Words bits = (Words)v, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  *reinterpret_cast<Halves*>(p) = __builtin_convertvector(v != v ? Words{} + 0x7fc0 : rounded, Halves);
}

// f(channel, vector) of one pixel, zeros beyond its channels.
template <class S, class F>
BF_INLINE void read_pixel(const S* p, int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kBlock <= channels; c += kBlock) {
#pragma GCC unroll 8
    for (int part = 0; part < kBlock; part += kWidth<Wide<S>>) f(c + part, read(p + c + part));
  }
  if (c == channels) return;
  S tail[kBlock] = {};
  for (int64_t k = 0; k < channels - c; ++k) tail[k] = p[c + k];
#pragma GCC unroll 8
  for (int part = 0; part < kBlock; part += kWidth<Wide<S>>) f(c + part, read(tail + part));
}

// One pixel from f(channel), a vector of T.
template <class T, class S, class F>
BF_INLINE void write_pixel(S* p, int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kBlock <= channels; c += kBlock) {
#pragma GCC unroll 8
    for (int part = 0; part < kBlock; part += kWidth<T>) write(p + c + part, f(c + part));
  }
  if (c == channels) return;
  S tail[kBlock];
#pragma GCC unroll 8
  for (int part = 0; part < kBlock; part += kWidth<T>) write(tail + part, f(c + part));
  for (int64_t k = 0; k < channels - c; ++k) p[c + k] = tail[k];
}

// f(image, row, column, k) of `count` output pixels from `first` on, k counting them.
template <class S, class F>
BF_INLINE void each_pixel(const ConvPlan<S>& plan, int64_t first, int64_t count, const F& f) {
  const int64_t row = first / plan.out_width;
  int64_t n = row / plan.out_height, i = row % plan.out_height, j = first % plan.out_width;
  for (int64_t k = 0; k < count; j = 0) {
    const int64_t end = std::min(plan.out_width, j + count - k);
    for (; j < end; ++j, ++k) f(n, i, j, k);
    if (++i == plan.out_height) i = 0, ++n;
  }
}

}  // namespace conv
}  // namespace BF_ISA
}  // namespace base_fast
