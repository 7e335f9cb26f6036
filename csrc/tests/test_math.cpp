// The float functions of core/math.h against the library in double. Prints the largest errors, which math.h quotes.
//
//   g++ -std=c++17 -O2 -ffp-contract=off test_math.cpp -o test_math && ./test_math
//
// and once more with -DBF_ISA=avx2 -mavx2 -mfma for fused products.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "../core/bfloat16.h"
#include "../core/math.h"
#include "../core/philox.h"
#include "check.h"

using namespace base_fast;
using namespace base_fast::BF_ISA;

namespace {

const float kInfinity = HUGE_VALF;
const float kNaN = std::nanf("");

bool same(float x, float y) { return bits_of(x) == bits_of(y); }

// The distance of neighbouring floats at x.
double ulp(double x) {
  int exponent;
  std::frexp(x, &exponent);
  return std::ldexp(1.0, (exponent < -125 ? -125 : exponent) - 24);
}

struct Worst {
  double ulps = 0.0;
  float at = 0.0f;

  void see(float x, float value, double exact) {
    const double error = std::fabs(static_cast<double>(value) - exact);
    if (!(error / ulp(exact) <= ulps)) {  // a NaN counts
      ulps = error / ulp(exact);
      at = x;
    }
  }
  bool report(const char* name, double bound) const {
    std::printf("%-20s %.2f ulp at %.9g\n", name, ulps, static_cast<double>(at));
    return ulps <= bound;
  }
};

// Every 97th float between two of one sign.
template <class F>
void sweep(float low, float high, const F& f) {
  const uint32_t a = bits_of(low), b = bits_of(high);
  for (uint32_t bits = a < b ? a : b; bits <= (a < b ? b : a); bits += 97) f(float_of(bits));
}

void test_uniforms() {
  Worst log_error, inner, cosine, sine;
  double gumbel_error = 0.0, normal_error = 0.0;
  for (uint32_t k = 0; k < (1u << 23); ++k) {
    const uint32_t word = (k << 9) | (k & 0x1ffu);
    const float u = uniform(word);
    const double exact = (k + 0.5) * std::ldexp(1.0, -23);
    if (static_cast<double>(u) != exact) ++failures();
    log_error.see(u, log_positive(u), std::log(exact));
    const float negative_log = -log_positive(u);
    inner.see(u, log_positive(negative_log), std::log(static_cast<double>(negative_log)));
    gumbel_error = std::fmax(gumbel_error, std::fabs(gumbel(word) + std::log(-std::log(exact))));
    // sin(2πu) from an argument within an eighth of a turn of 0: M_PI's own rounding would show near a zero.
    const double quarter = std::nearbyint(4.0 * exact), rest = (4.0 * exact - quarter) * (M_PI / 2.0);
    const double c0 = std::cos(rest), s0 = std::sin(rest);
    const int turn = static_cast<int>(quarter) & 3;
    const double c = turn == 0 ? c0 : turn == 1 ? -s0 : turn == 2 ? -c0 : s0;
    const double s = turn == 0 ? s0 : turn == 1 ? c0 : turn == 2 ? -s0 : -c0;
    const CosSin turned = cos_sin_turn(u);
    cosine.see(u, turned.cos, c);
    sine.see(u, turned.sin, s);
    const double radius = std::sqrt(-2.0 * std::log(exact));
    normal_error = std::fmax(normal_error, std::fabs(normal_pair(word, word).sin - radius * s));
  }
  CHECK(log_error.report("log_positive(u)", 1.1));
  CHECK(inner.report("log_positive(-log u)", 1.1));
  CHECK(cosine.report("cos(2 pi u)", 2.0));
  CHECK(sine.report("sin(2 pi u)", 2.0));
  std::printf("gumbel: absolute %.2e; normal: absolute %.2e\n", gumbel_error, normal_error);
  CHECK(gumbel_error < 1.1e-6 && normal_error < 3.1e-7);
}

void test_log() {
  Worst worst;
  const auto see = [&](float x) { worst.see(x, log_(x), std::log(static_cast<double>(x))); };
  sweep(1e-44f, 3.4e38f, see);
  CHECK(worst.report("log_", 1.3));
  CHECK(log_(0.0f) == -kInfinity && log_(-0.0f) == -kInfinity && log_(kInfinity) == kInfinity);
  CHECK(std::isnan(log_(-1.0f)) && std::isnan(log_(-kInfinity)) && std::isnan(log_(kNaN)));
  CHECK(same(log_(1.0f), 0.0f));
}

void test_exp() {
  Worst full, negative, log1p_error;
  const auto see = [&](float x) { full.see(x, exp_(x), std::exp(static_cast<double>(x))); };
  sweep(-1e-10f, -103.9f, see);
  sweep(1e-10f, 88.72283f, see);
  CHECK(full.report("exp_", 1.1));
  sweep(-1e-10f, -87.3f, [&](float x) { negative.see(x, exp_negative(x), std::exp(static_cast<double>(x))); });
  CHECK(negative.report("exp_negative", 1.1));
  sweep(1e-30f, 1.0f, [&](float y) { log1p_error.see(y, log1p_unit(y), std::log1p(static_cast<double>(y))); });
  CHECK(log1p_error.report("log1p_unit", 1.3));
  CHECK(exp_(88.7229f) == kInfinity && exp_(kInfinity) == kInfinity && exp_(1e30f) == kInfinity);
  CHECK(same(exp_(-kInfinity), 0.0f) && same(exp_(-200.0f), 0.0f) && exp_(-103.0f) > 0.0f && std::isnan(exp_(kNaN)));
  CHECK(same(exp_negative(-kInfinity), 0.0f) && same(exp_negative(-88.0f), 0.0f) && std::isnan(exp_negative(kNaN)));
  CHECK(same(exp_(0.0f), 1.0f) && same(exp_negative(0.0f), 1.0f) && same(exp_negative(-0.0f), 1.0f));
}

void test_softplus() {
  Worst below, above, slope;
  const auto softplus_of = [](double x) { return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); };
  sweep(-1e-10f, -87.3f, [&](float x) {
    below.see(x, softplus(x), softplus_of(x));
    slope.see(x, sigmoid(x), 1.0 / (1.0 + std::exp(-static_cast<double>(x))));
  });
  sweep(1e-10f, 100.0f, [&](float x) {
    above.see(x, softplus(x), softplus_of(x));
    slope.see(x, sigmoid(x), 1.0 / (1.0 + std::exp(-static_cast<double>(x))));
  });
  CHECK(below.report("softplus below 0", 2.0));
  CHECK(above.report("softplus above 0", 2.2));
  CHECK(slope.report("sigmoid", 2.4));
  sweep(20.0f, 3e38f, [](float x) {
    if (!same(softplus(x), x)) ++failures();
  });
  CHECK(softplus(kInfinity) == kInfinity && same(softplus(-kInfinity), 0.0f) && std::isnan(softplus(kNaN)));
  CHECK(sigmoid(kInfinity) == 1.0f && same(sigmoid(-kInfinity), 0.0f) && std::isnan(sigmoid(kNaN)));
  CHECK(softplus(0.0) == std::log(2.0) && softplus(21.0) == 21.0 && sigmoid(0.0) == 0.5);
}

void test_bfloat16() {
  for (uint32_t bits = 0; bits < (1u << 16); ++bits) {
    const bfloat16 x = {static_cast<uint16_t>(bits)};
    const bfloat16 y = from_float<bfloat16>(to_float(x));
    const bool nan = (bits & 0x7fffu) > 0x7f80u;
    if (nan ? (y.bits & 0x7fffu) <= 0x7f80u : y.bits != bits) ++failures();
  }
  CHECK(from_float<bfloat16>(float_of(0x3f808000u)).bits == 0x3f80u);  // a tie, to even
  CHECK(from_float<bfloat16>(float_of(0x3f818000u)).bits == 0x3f82u);
  CHECK(from_float<bfloat16>(float_of(0x3f808001u)).bits == 0x3f81u);
  CHECK(from_float<bfloat16>(float_of(0x7f7fffffu)).bits == 0x7f80u);  // past the largest: inf
  CHECK((from_float<bfloat16>(float_of(0x7f800001u)).bits & 0x7fffu) > 0x7f80u);
  CHECK((from_float<bfloat16>(float_of(0xffffffffu)).bits & 0x7fffu) > 0x7f80u);
  CHECK(same(from_float<float>(0.1f), 0.1f) && from_float<double>(0.1) == 0.1);
}

}  // namespace

int main() {
  test_uniforms();
  test_log();
  test_exp();
  test_softplus();
  test_bfloat16();
  return failures() != 0;
}
