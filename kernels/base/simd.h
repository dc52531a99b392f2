// Instruction sets. Kernels written with Highway include this before its headers: it limits what they are
// compiled for to AVX-512, AVX2 and the compiler's baseline (each further set costs compile time and serves
// no machine of interest). The set is chosen at run time, once per process.
#pragma once
#include <string>
#include <vector>

// Highway numbers better sets lower: what lies below AVX3 are the kinds of AVX-512 that came after it.
#define HWY_DISABLED_TARGETS \
    ((HWY_AVX3 - 1) | HWY_SSE4 | HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

namespace tvmap::cpu {

/// The instruction sets that the kernels are compiled for and that this processor has, best first: AVX-512, AVX2, SSE2,
/// NEON, …
std::vector<std::string> instruction_sets();

/// Restricts the kernels to one of instruction_sets(), process-wide; "" lifts the restriction. Case and hyphens do not
/// matter. Throws Error for any other. Before other threads use kernels.
void use_instruction_set(const std::string& name);

/// The one in use: the best, or what the kernels were restricted to.
std::string instruction_set();

}  // namespace tvmap::cpu
