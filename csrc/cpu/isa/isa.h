// Which instruction set the kernels run on: the best that this CPU has, or the one that BASE_FAST_ISA asks for.
#pragma once

namespace base_fast {

enum class Isa { baseline, avx2, avx512 };

// The set in use. Throws std::runtime_error where BASE_FAST_ISA names one that is unknown or that this CPU lacks.
Isa isa();

// Use the set of that name from now on, for tests and benchmarks. Throws as `isa` does.
void select_isa(const char* name);

const char* name_of(Isa isa);

// Whether this process may use the matrix unit for bfloat16 (AMX); asks the operating system once, and not at all where
// BASE_FAST_AMX is 0. Throws std::runtime_error where that is neither 0 nor 1.
bool has_amx();

}  // namespace base_fast
