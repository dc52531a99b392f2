// Counter-based random numbers (Philox 4×32-10, Salmon et al., SC 2011). Every number is a pure function of a
// key and a counter, so there is no state to save, and CPU and GPU draw the same bits.
#pragma once
#include <array>
#include <cstdint>

#include "kernels/features.h"

namespace tvmap {

/// What a random number is for; numbers of different purposes never share a counter.
enum class Purpose : std::uint32_t { noise = 1, noise_level, initial_weight, shuffle, crop, flip, phantom };

/// Philox 4×32-10: four words from a 64-bit key and a 128-bit counter.
std::array<std::uint32_t, 4> philox(std::uint64_t key, std::array<std::uint32_t, 4> counter);

/// Uniform in [0, 1), 24 bits, at (seed, purpose, epoch, item, index).
float uniform(std::uint64_t seed, Purpose purpose, std::uint32_t epoch, std::uint32_t item,
              std::uint32_t index);

namespace cpu {

/// noisy[i] = clean[i] + scale·n_i, n_i standard normal, a pure function of (seed, epoch, image, i); i counts
/// the `count` values that are fed. n_i comes from one 32-bit word through a polynomial inverse normal
/// distribution function in explicit fused multiply-adds, no library logarithm, so that every instruction set
/// (and a GPU) rounds alike. noisy may be clean.
void add_noise(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image, std::int64_t count,
               const float* clean, float scale, float* noisy);

}  // namespace cpu
}  // namespace tvmap
