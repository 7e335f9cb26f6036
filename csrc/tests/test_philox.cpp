// Philox against the vectors published with Random123, and the forms for runs of blocks against the form for one.
//
//   g++ -std=c++17 -O2 -ffp-contract=off test_philox.cpp -o test_philox && ./test_philox
//
// and once more for each set: with -DBF_ISA=avx2 -mavx2 -mfma, and with -DBF_ISA=avx512 -mavx512f -mavx512bw -mavx512vl
// -mavx512dq -mfma.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "../core/philox.h"
#include "check.h"

using namespace base_fast;
using namespace base_fast::BF_ISA;

namespace {

void test_known_answers() {
  const struct {
    Words4 counter;
    uint32_t k0, k1;
    Words4 expected;
  } answers[] = {
      {{{0u, 0u, 0u, 0u}}, 0u, 0u, {{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}}},
      {{{0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu}}, 0xffffffffu, 0xffffffffu,
       {{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}}},
      {{{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, 0xa4093822u, 0x299f31d0u,
       {{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}}},
  };
  for (const auto& answer : answers) {
    const Words4 words = philox(answer.counter, answer.k0, answer.k1);
    CHECK(std::memcmp(&words, &answer.expected, sizeof words) == 0);
  }
}

// A run of blocks equals its blocks, bit for bit.
void test_blocks(Key key, int64_t first_block) {
  uint32_t words[kNoiseBlock];
  float uniforms[kNoiseBlock], gumbels[kNoiseBlock], normals[kNoiseBlock];
  word_block(key, first_block, words);
  uniform_block(key, first_block, uniforms);
  gumbel_block(key, first_block, gumbels);
  normal_block(key, first_block, normals);
  for (int64_t block = 0; block < kNoiseBlock / 4; ++block) {
    const int64_t index = static_cast<int64_t>(static_cast<uint64_t>(first_block) + static_cast<uint64_t>(block));
    const Words4 w = words4(key, index);
    const Noise4 u = uniform4(key, index), g = gumbel4(key, index), n = normal4(key, index);
    CHECK(std::memcmp(&w, words + 4 * block, sizeof w) == 0);
    CHECK(std::memcmp(&u, uniforms + 4 * block, sizeof u) == 0);
    CHECK(std::memcmp(&g, gumbels + 4 * block, sizeof g) == 0);
    CHECK(std::memcmp(&n, normals + 4 * block, sizeof n) == 0);
  }
}

void test_ends() {
  CHECK(uniform(0u) == 0x1p-24f && uniform(0x1ffu) == 0x1p-24f && uniform(0xffffffffu) == 1.0f - 0x1p-24f);
  for (const uint32_t word : {0u, 0xffffffffu, 0x80000000u}) {
    CHECK(std::isfinite(gumbel(word)) && std::isfinite(normal_pair(word, word).cos));
  }
}

void test_moments() {
  double sum = 0.0, square = 0.0, cross = 0.0, gumbel_sum = 0.0;
  float noise[kNoiseBlock];
  constexpr int runs = 1024;
  for (int run = 0; run < runs; ++run) {
    normal_block(Key{3, 1}, run * (kNoiseBlock / 4), noise);
    for (int i = 0; i < kNoiseBlock; i += 2) {
      sum += noise[i] + noise[i + 1];
      square += noise[i] * noise[i] + noise[i + 1] * noise[i + 1];
      cross += noise[i] * noise[i + 1];
    }
    gumbel_block(Key{4, 1}, run * (kNoiseBlock / 4), noise);
    for (const float x : noise) gumbel_sum += x;
  }
  const double count = static_cast<double>(runs) * kNoiseBlock, deviation = 1.0 / std::sqrt(count);
  CHECK(std::fabs(sum / count) < 5.0 * deviation);
  CHECK(std::fabs(square / count - 1.0) < 5.0 * std::sqrt(2.0) * deviation);
  CHECK(std::fabs(cross / (count / 2)) < 5.0 * std::sqrt(2.0) * deviation);
  CHECK(std::fabs(gumbel_sum / count - 0.5772156649) < 5.0 * 1.2825 * deviation);
}

}  // namespace

int main() {
  test_known_answers();
  for (const int64_t seed : {int64_t{0}, int64_t{42}, int64_t{-1}, int64_t{0x123456789abcdef0}, INT64_MIN}) {
    test_blocks({seed, 0}, 0);
    test_blocks({seed, 7}, 64);
    test_blocks({seed, (int64_t{1} << 32) - 20}, 3);  // the counter's low half overflows within the run
    test_blocks({seed, (int64_t{1} << 32) - 1}, 0);
    test_blocks({seed, INT64_MAX}, 5);  // counters are unsigned
    test_blocks({seed, -3}, 0);
  }
  test_ends();
  test_moments();
  return failures() != 0;
}
