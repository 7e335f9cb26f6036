// Writes past the caches. A plain store first reads the line that it is about to overwrite; for results that no cache
// will hold until they are used, that is a third of the traffic.
#pragma once

#include "../../core/macros.h"
#include "../isa/standard.h"

namespace base_fast {
namespace BF_ISA {

// memcpy(to, from, bytes) for a `from` in a near cache. Others may read `to` after stream_fence().
inline void stream(void* to, const void* from, int64_t bytes) {
#if defined(__x86_64__)
  constexpr int64_t line = 64;
  char* out = static_cast<char*>(to);
  const char* in = static_cast<const char*>(from);
  int64_t head = (line - static_cast<int64_t>(reinterpret_cast<uintptr_t>(out) % line)) % line;
  if (head > bytes) head = bytes;
  memcpy(out, in, head);
  int64_t i = head;
  for (; i + line <= bytes; i += line) {
#if BF_VECTOR_BYTES == 64
    _mm512_stream_si512(reinterpret_cast<__m512i*>(out + i), _mm512_loadu_si512(in + i));
#elif BF_VECTOR_BYTES == 32
    for (int64_t j = i; j < i + line; j += 32) {
      _mm256_stream_si256(reinterpret_cast<__m256i*>(out + j),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + j)));
    }
#else
    for (int64_t j = i; j < i + line; j += 16) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(out + j), _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + j)));
    }
#endif
  }
  memcpy(out + i, in + i, bytes - i);
#else
  memcpy(to, from, bytes);
#endif
}

inline void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace BF_ISA
}  // namespace base_fast
