#include "isa.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "per_isa.h"

#if BF_MULTI_ISA && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace base_fast {
namespace {

bool supported(Isa isa) {
#if BF_MULTI_ISA
  __builtin_cpu_init();
  switch (isa) {
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
    case Isa::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::baseline: return true;
  }
#endif
  return isa == Isa::baseline;
}

Isa best() {
  if (supported(Isa::avx512)) return Isa::avx512;
  return supported(Isa::avx2) ? Isa::avx2 : Isa::baseline;
}

Isa named(const std::string& name) {
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (name != name_of(isa)) continue;
    if (!supported(isa)) throw std::runtime_error("BASE_FAST_ISA: got " + name + ", which this CPU or build lacks");
    return isa;
  }
  throw std::runtime_error("BASE_FAST_ISA: got " + name + ", expected baseline, avx2 or avx512");
}

Isa initial() {
  const char* wanted = std::getenv("BASE_FAST_ISA");
  return wanted != nullptr && *wanted != '\0' ? named(wanted) : best();
}

std::atomic<Isa>& current() {
  static std::atomic<Isa> isa{initial()};
  return isa;
}

bool ask_for_amx() {
  const char* wanted = std::getenv("BASE_FAST_AMX");
  const std::string choice = wanted == nullptr ? "" : wanted;
  if (choice != "" && choice != "0" && choice != "1")
    throw std::runtime_error("BASE_FAST_AMX: got " + choice + ", expected 0 or 1");
  if (choice == "0") return false;
#if BF_MULTI_ISA && defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool tiles = (d >> 24 & 1) != 0 && (d >> 22 & 1) != 0;
  if (!tiles || __get_cpuid_count(7, 1, &a, &b, &c, &d) == 0 || (a >> 5 & 1) == 0) return false;
  // ARCH_REQ_XCOMP_PERM for the tiles' contents: Linux gives it to a process that asks.
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return false;
#endif
}

}  // namespace

bool has_amx() {
  static const bool has = ask_for_amx();
  return has;
}

Isa isa() { return current().load(std::memory_order_relaxed); }

void select_isa(const char* name) { current().store(named(name), std::memory_order_relaxed); }

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    case Isa::baseline: break;
  }
  return "baseline";
}

}  // namespace base_fast
