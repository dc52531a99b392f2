// Counter-based random numbers (Philox 4×32-10, Salmon et al., SC 2011). Every number is a pure function of a
// key and a counter, so there is no state to save, and CPU and GPU draw the same bits.
//
// Layout, the same on every device: the key is the seed (low word first), the counter is
//     { index, item, epoch, purpose }.
// uniform() takes word 0 of the block at its index. Noise, and other normal numbers, take all four: value i of an image
// is word i mod 4 of the block at index ⌊i/4⌋, so one thread that owns a block writes four neighbours.
#pragma once
#include <array>
#include <cstdint>

#include "kernels/base/features.h"
#include "kernels/base/stream.h"

namespace tvmap {

/// What a random number is for; numbers of different purposes never share a counter.
enum class Purpose : std::uint32_t {
    noise = 1,
    noise_level,
    initial_weight,
    shuffle,
    crop,
    flip,
    phantom,
    bootstrap,
    permutation,
    mask,
    second_noise,  ///< of an image that was observed twice
    recorruption,  ///< see engine/data/supervision.h, as for the next
    probe,
    gain,  ///< of an image that is counted
    count
};

/// Philox 4×32-10: four words from a 64-bit key and a 128-bit counter.
std::array<std::uint32_t, 4> philox(std::uint64_t key, std::array<std::uint32_t, 4> counter);

/// Uniform in [0, 1), 24 bits, at (seed, purpose, epoch, item, index).
float uniform(std::uint64_t seed, Purpose purpose, std::uint32_t epoch, std::uint32_t item,
              std::uint32_t index);

namespace cpu {

/// normals[i] = Φ⁻¹(½ + (s + ½)/2³²), s the word read as a signed integer: word and ~word give opposite
/// numbers, the largest is 6.338. Relative error below 6e-7. Polynomials in explicit fused multiply-adds and
/// one square root, no library function, so that every instruction set (and a GPU) rounds alike.
void inverse_normal(const std::uint32_t* words, std::int64_t count, float* normals);

/// noisy[i] = clean[i] + scale·n_i (one rounding), n_i standard normal, a pure function of (seed, epoch,
/// image, i); i counts the `count` values that are fed. n_i is inverse_normal of the word named above. noisy
/// may be clean.
void add_noise(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image, std::int64_t count,
               const float* clean, float scale, float* noisy);

/// The numbers `first` … first + count − 1 of an image's standard normal ones for a purpose; add_noise's n_i are those
/// of Purpose::noise.
void normal_numbers(std::uint64_t seed, Purpose purpose, std::uint32_t epoch, std::uint32_t image,
                    std::int64_t first, std::int64_t count, float* numbers);

}  // namespace cpu
namespace cuda {

/// The same bits as the CPU's.
void add_noise(gpu::Stream stream, std::uint64_t seed, std::uint32_t epoch, std::uint32_t image,
               std::int64_t count, const float* clean, float scale, float* noisy);

}  // namespace cuda
}  // namespace tvmap
