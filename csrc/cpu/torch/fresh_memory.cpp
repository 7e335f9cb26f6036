#include "fresh_memory.h"

#include "../memory/buffer.h"
#include "operands.h"
#include "tensor.h"

namespace base_fast {
namespace {

constexpr int64_t kCount = 1000;

bool is_poison(const void* memory, size_t bytes) {
  const auto* byte = static_cast<const unsigned char*>(memory);
  return bytes > 0 && std::all_of(byte, byte + bytes, [](unsigned char one) { return one == kPoison; });
}

// Whether take() gives poison though the memory was used before; `memory_of` says where it lies.
template <class Take, class Memory>
bool is_fresh(const Take& take, const Memory& memory_of, size_t bytes) {
  std::memset(memory_of(take()), 1, bytes);
  const auto again = take();
  return is_poison(memory_of(again), bytes);
}

}  // namespace

std::string fresh_memory_json() {
  struct Purpose;
  const Tensor like = empty({kCount}, ScalarType::Float);
  std::string json;
  const auto say = [&](const char* name, bool fresh) {
    json += (json.empty() ? "{\"" : ", \"") + std::string(name) + (fresh ? "\": true" : "\": false");
  };
  const auto result = [&](const char* name, const auto& take) {
    const auto memory_of = [](const Tensor& x) { return x.mutable_data_ptr(); };
    const Tensor x = take();
    say(name, is_fresh(take, memory_of, size_t(x.numel()) * x.element_size()));
  };
  result("empty", [] { return empty({kCount}, ScalarType::Double); });
  result("empty_image", [] { return empty_image(2, 3, 5, 7, ScalarType::BFloat16); });
  result("dense_like", [&] { return dense_like(like); });
  result("output_like", [&] { return output_like(like); });
  const auto own = [&](const char* name, const auto& take) {
    say(name, is_fresh(take, [](const auto& memory) { return memory.get(); }, kCount * sizeof(float)));
  };
  own("Buffer", [] { return Buffer<float>(kCount); });
  own("uninitialized", [] { return uninitialized<float>(kCount); });
  const auto of_thread = [] { return thread_memory<Purpose, float>(kCount); };
  say("thread_memory", is_fresh(of_thread, [](float* memory) { return memory; }, kCount * sizeof(float)));
  return json + "}";
}

}  // namespace base_fast
