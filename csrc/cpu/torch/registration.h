// Registers kernels under the schemas that Python defines, and records their C++ signatures.
//
// PyTorch's stable ABI checks only how many arguments a kernel takes: `int` where the schema says `float` would read
// garbage in silence. A test compares what is recorded here with the schemas.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace base_fast {

// Name -> signature, in the schema's own words: "(Tensor, float, bool) -> Tensor".
inline std::map<std::string, std::string>& signatures() {
  static std::map<std::string, std::string> all;
  return all;
}

template <class T>
struct TypeName;
template <>
struct TypeName<torch::stable::Tensor> {
  static std::string get() { return "Tensor"; }
};
template <>
struct TypeName<int64_t> {
  static std::string get() { return "int"; }
};
template <>
struct TypeName<double> {
  static std::string get() { return "float"; }
};
template <>
struct TypeName<bool> {
  static std::string get() { return "bool"; }
};
template <class T>
struct TypeName<std::vector<T>> {
  static std::string get() { return TypeName<T>::get() + "[]"; }
};
template <class T>
struct TypeName<std::optional<T>> {
  static std::string get() { return TypeName<T>::get() + "?"; }
};

template <class... T>
std::string joined() {
  std::string text;
  ((text += (text.empty() ? "" : ", ") + TypeName<std::decay_t<T>>::get()), ...);
  return "(" + text + ")";
}
template <class... T>
struct TypeName<std::tuple<T...>> {
  static std::string get() { return joined<T...>(); }
};

template <class R, class... A>
std::string signature_of(R (*)(A...)) {
  return joined<A...>() + " -> " + TypeName<R>::get();
}

// All of them as a JSON object.
inline std::string signatures_json() {
  std::string text;
  for (const auto& [name, signature] : signatures()) {
    text += (text.empty() ? "\"" : ", \"") + name + "\": \"" + signature + "\"";
  }
  return "{" + text + "}";
}

}  // namespace base_fast

#define BF_REGISTER(library, op)                                   \
  ::base_fast::signatures()[#op] = ::base_fast::signature_of(&op); \
  library.impl(#op, TORCH_BOX(&op))
