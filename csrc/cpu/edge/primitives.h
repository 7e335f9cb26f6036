// The primitives that the kernels of mixed edges know: their numbers, their stages, their weights, and what they keep
// for backward. The extension states this table as facts (torch/module.cpp); a test compares it with Python's.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace base_fast {

// Their numbers in the ops' schemas.
enum class Primitive : int64_t { none, max_pool, avg_pool, skip, sep_3, sep_5, sep_7, dil_3, dil_5 };

// A primitive's convolutions are of one kernel and dilation, each with a batch norm behind it; the first has the edge's
// stride. Without any it is a pool, an identity or nothing.
struct PrimitiveFacts {
  Primitive number;
  const char* name;  // in Python's table
  int kernel, dilation, convolutions;
  // Kept for backward beside others; alone, a primitive always is. A dilated 3×3 convolution costs less to compute
  // again than any other.
  bool kept;
};

constexpr PrimitiveFacts kPrimitives[] = {
    {Primitive::none, "none", 0, 1, 0, true},
    {Primitive::max_pool, "max_pool_3x3", 0, 1, 0, true},
    {Primitive::avg_pool, "avg_pool_3x3", 0, 1, 0, true},
    {Primitive::skip, "skip_connect", 0, 1, 0, true},  // at stride 2 a factorized reduction
    {Primitive::sep_3, "sep_conv_3x3", 3, 1, 2, true},
    {Primitive::sep_5, "sep_conv_5x5", 5, 1, 2, true},
    {Primitive::sep_7, "sep_conv_7x7", 7, 1, 2, true},
    {Primitive::dil_3, "dil_conv_3x3", 3, 2, 1, false},
    {Primitive::dil_5, "dil_conv_5x5", 5, 2, 1, true},
};
constexpr int64_t kPrimitiveCount = int64_t(sizeof(kPrimitives) / sizeof(kPrimitives[0]));
// Of one edge; the weighted sum has room for so many terms.
constexpr int64_t kMostPrimitives = 32;

constexpr bool are_in_order() {
  for (int64_t i = 0; i < kPrimitiveCount; ++i)
    if (int64_t(kPrimitives[i].number) != i) return false;
  return true;
}
static_assert(are_in_order(), "a primitive's number is its place in the table");

// Throws std::invalid_argument for a number that is not in the table.
inline const PrimitiveFacts& primitive_facts(int64_t number) {
  if (number < 0 || number >= kPrimitiveCount) {
    throw std::invalid_argument("primitives: got the number " + std::to_string(number) + ", expected one from 0 to " +
                                std::to_string(kPrimitiveCount - 1));
  }
  return kPrimitives[number];
}

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
  const PrimitiveFacts& facts = primitive_facts(primitive);
  WeightSizes sizes;
  const auto add = [&](int64_t first, int64_t second) {
    sizes.size[sizes.count++] = first, sizes.size[sizes.count++] = second;
  };
  if (facts.number == Primitive::skip && stride == 2)
    add(channels / 2 * channels, (channels - channels / 2) * channels);
  for (int i = 0; i < facts.convolutions; ++i) add(channels * facts.kernel * facts.kernel, channels * channels);
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

// Whether an edge keeps a primitive's values for backward.
inline bool is_kept(const std::vector<int64_t>& primitives, int64_t primitive) {
  return primitives.size() == 1 || primitive_facts(primitive).kept;
}
// The stages of such primitives.
inline int64_t kept_stages(const std::vector<int64_t>& primitives, int stride) {
  int64_t stages = 0;
  for (int64_t primitive : primitives)
    if (is_kept(primitives, primitive)) stages += weight_sizes(primitive, 1, stride).stages();
  return stages;
}

// The table as JSON: for either stride the sizes of the weights on an edge of `channels`, in pairs, one per stage.
inline std::string primitives_json(int64_t channels) {
  std::string text;
  for (const PrimitiveFacts& facts : kPrimitives) {
    text += std::string(text.empty() ? "" : ", ") + "{\"name\": \"" + facts.name +
            "\", \"number\": " + std::to_string(int64_t(facts.number)) +
            ", \"kernel\": " + std::to_string(facts.kernel) + ", \"dilation\": " + std::to_string(facts.dilation) +
            ", \"kept\": " + (facts.kept ? "true" : "false") + ", \"channels\": " + std::to_string(channels) +
            ", \"weights\": {";
    for (int stride = 1; stride <= 2; ++stride) {
      text += std::string(stride == 1 ? "" : ", ") + "\"" + std::to_string(stride) + "\": [";
      const WeightSizes sizes = weight_sizes(int64_t(facts.number), channels, stride);
      for (const int64_t& size : sizes) text += (&size == sizes.begin() ? "" : ", ") + std::to_string(size);
      text += "]";
    }
    text += "}}";
  }
  return "[" + text + "]";
}

}  // namespace base_fast
