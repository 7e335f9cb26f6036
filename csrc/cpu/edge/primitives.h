// The primitives of mixed edges: their numbers, their weights, and what they keep for backward.
#pragma once

#include <cstdint>
#include <vector>

namespace base_fast {

// The numbers of the primitives in the op's schema; any other contributes nothing.
enum class Primitive : int64_t { none, max_pool, avg_pool, skip, sep_3, sep_5, sep_7, dil_3, dil_5 };
constexpr int64_t kPrimitives = 9;

// The numbers of elements of the weights that a primitive takes. A cell asks for hundreds of them in every call, so
// they are no vector.
struct WeightSizes {
  int64_t size[4];
  int count = 0;
  const int64_t* begin() const { return size; }
  const int64_t* end() const { return size + count; }
  int stages() const { return count / 2; }  // each has two
};
inline WeightSizes weight_sizes(int64_t primitive, int64_t channels, int stride) {
  WeightSizes sizes;
  const auto add = [&](int64_t first, int64_t second) {
    sizes.size[sizes.count++] = first, sizes.size[sizes.count++] = second;
  };
  const auto convolutions = [&](int64_t kernel, int times) {
    for (int i = 0; i < times; ++i) add(channels * kernel * kernel, channels * channels);
  };
  switch (Primitive(primitive)) {
    case Primitive::skip:
      if (stride == 2) add(channels / 2 * channels, (channels - channels / 2) * channels);
      break;
    case Primitive::sep_3:
    case Primitive::sep_5:
    case Primitive::sep_7:
      convolutions(3 + 2 * (primitive - int64_t(Primitive::sep_3)), 2);
      break;
    case Primitive::dil_3:
    case Primitive::dil_5:
      convolutions(3 + 2 * (primitive - int64_t(Primitive::dil_3)), 1);
      break;
    default:
      break;
  }
  return sizes;
}
// Those of several, in order.
inline std::vector<int64_t> weight_sizes(const std::vector<int64_t>& primitives, int64_t channels, int stride) {
  std::vector<int64_t> sizes;
  for (int64_t primitive : primitives) {
    const WeightSizes own = weight_sizes(primitive, channels, stride);
    sizes.insert(sizes.end(), own.begin(), own.end());
  }
  return sizes;
}

// Whether an edge keeps a primitive's values for backward. A dilated 3×3 convolution beside others costs less to
// compute again than any of them.
inline bool is_kept(const std::vector<int64_t>& primitives, int64_t primitive) {
  return primitives.size() == 1 || Primitive(primitive) != Primitive::dil_3;
}
// The stages of such primitives.
inline int64_t kept_stages(const std::vector<int64_t>& primitives, int stride) {
  int64_t stages = 0;
  for (int64_t primitive : primitives)
    if (is_kept(primitives, primitive)) stages += weight_sizes(primitive, 1, stride).stages();
  return stages;
}

}  // namespace base_fast
