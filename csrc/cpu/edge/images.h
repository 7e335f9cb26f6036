// An edge's images on their way from and to NHWC.
#pragma once

#include "../blocked/amx.h"
#include "../blocked/images.h"
#include "plan.h"

namespace base_fast {
namespace BF_ISA {
namespace edge {

using namespace blocked;

// An image of a group, and the one that the thread will come to next, or −1.
struct CurrentImage {
  int64_t group, image, next;
};
template <class T, class F>
void each_image(const Plan<T>& plan, int64_t group, const Workspace<T>& work, const F& f) {
  const int64_t end = plan.begin(group + 1), after = work.next_group < 0 ? -1 : plan.begin(work.next_group);
  for (int64_t n = plan.begin(group); n < end; ++n) f(CurrentImage{group, n, n + 1 < end ? n + 1 : after});
}

// Where the channels fill their blocks, an NHWC image serves as it stands; else it is copied to scratch memory.
template <class T>
bool is_copied(const Plan<T>& plan) {
  return plan.image_storage != Storage::own || plan.channels != plan.padded_channels();
}

// Memory for a copy of x, and for x and a stage's value padded.
template <class T>
T* take_x(const Plan<T>& plan, Scratch<T>& scratch) {
  return scratch.take(plan.blocks * plan.pixels() * kBlock);
}
template <class T>
PaddedImage<T> padded_x(const Plan<T>& plan, Scratch<T>& scratch) {
  return padded_image(scratch, plan.blocks, plan.height, plan.width, plan.halo, T(0));
}
template <class T>
PaddedImage<T> padded_value(const Plan<T>& plan, Scratch<T>& scratch) {
  return padded_image(scratch, plan.blocks, plan.out_height, plan.out_width, plan.halo, T(0));
}
// Products of a plan's chunks; only bfloat16 edges may round their operands.
template <class T>
Amx<T> products_of(const Plan<T>& plan, Scratch<T>& scratch) {
  return Amx<T>(plan.image_storage == Storage::bfloat16, plan.chunk_rows() * plan.out_width, plan.padded_channels(),
                scratch);
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

// The gradients that come back from the edges, of one image at a time.
template <class T>
class OutputGradients {
 public:
  OutputGradients(const Plan<T>& plan, Scratch<T>& scratch)
      : plan_(plan), size_(plan.blocks * plan.out_pixels() * kBlock), copies_(scratch.take(plan.count * size_)) {}
  void move_to(int64_t n) {
    image_ = n;
    for (int t = 0; t < plan_.count; ++t) {
      const EdgeOutput<T>& output = plan_.outputs[t];
      view_of(plan_, output.grad, output.grad_pixel, n, plan_.out_pixels(), copies_ + t * size_);
    }
  }
  View<T> operator[](int t) const {
    const EdgeOutput<T>& output = plan_.outputs[t];
    return stored_view(plan_, output.grad, output.grad_pixel, image_, plan_.out_pixels(), copies_ + t * size_);
  }

 private:
  const Plan<T>& plan_;
  int64_t size_, image_ = 0;
  T* copies_;
};

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

}  // namespace edge
}  // namespace BF_ISA
}  // namespace base_fast
