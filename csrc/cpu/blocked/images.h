// Images in blocks of channels: as they lie in memory, and padded.
#pragma once

#include "../isa/vector.h"
#include "../memory/scratch.h"
#include "prefetch.h"
#include "stored.h"

namespace base_fast {
namespace BF_ISA {
namespace blocked {

// An image by blocks of channels, of numbers as they are stored.
template <class S>
struct View {
  const S* base;
  int64_t block;  // elements from one block to the next
  int64_t pixel;  // and from one pixel to the next
  const S* at(int64_t b, int64_t p) const { return base + b * block + p * pixel; }
};

// Puts `count` pixels on the list of what is asked for prefetch, unless nobody knows them yet.
template <class S>
void add_view(Prefetcher& prefetch, const View<S>& view, int64_t blocks, int64_t first, int64_t count) {
  if (view.base == nullptr) return;
  if (view.block == kBlock) return prefetch.add(view.at(0, first), count, view.pixel, blocks * kBlock);
  for (int64_t b = 0; b < blocks; ++b) prefetch.add(view.at(b, first), count, view.pixel, kBlock);
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

// An image whose blocks are padded by a halo.
template <class T>
struct PaddedImage {
  T* base;
  int64_t row;    // elements from one row to the next
  int64_t block;  // and from one block to the next
  int64_t halo;   // pixels
  // Pixel (i, j), from −halo on.
  T* at(int64_t b, int64_t i, int64_t j) const { return base + b * block + (i + halo) * row + (j + halo) * kBlock; }
};

// The halo holds `value`, written once per pass; the image inside is yet to be written.
template <class T>
PaddedImage<T> padded_image(Scratch<T>& scratch, int64_t blocks, int64_t height, int64_t width, int64_t halo, T value) {
  const int64_t row = (width + 2 * halo) * kBlock, block = (height + 2 * halo) * row, side = halo * kBlock;
  T* base = scratch.take(blocks * block);
  for (int64_t b = 0; b < blocks && scratch.fresh(); ++b) {
    for (int64_t i = -halo; i < height + halo; ++i) {
      T* p = base + b * block + (i + halo) * row;
      const bool outside = i < 0 || i >= height;
      for (int64_t j = 0; j < (outside ? row : side); ++j) p[j] = value;
      for (int64_t j = row - side; j < row && !outside; ++j) p[j] = value;
    }
  }
  return {base, row, block, halo};
}

// f of every vector of an image, into a padded one.
template <class T, class S, class F>
BF_INLINE void fill(const PaddedImage<T>& to, const View<S>& from, int64_t blocks, int64_t height, int64_t width,
                    const F& f) {
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t i = 0; i < height; ++i) {
      const S* p = from.at(b, i * width);
      T* q = to.at(b, i, 0);
      for (int64_t j = 0; j < width; ++j, p += from.pixel, q += kBlock) {
#pragma GCC unroll 8
        for (int part = 0; part < kBlock; part += kWidth<T>) store(q + part, f(load(p + part), b * kBlock + part));
      }
    }
  }
}

}  // namespace blocked
}  // namespace BF_ISA
}  // namespace base_fast
