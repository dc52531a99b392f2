// Noise as a kernel draws it: one thread, one Philox block, four neighbouring values.
#pragma once
#include "kernels/gpu/gpu.h"
#include "kernels/training/philox.h"
#include "kernels/training/random.h"

namespace tvmap::cuda {

/// Four standard normal numbers of an image: those of its values 4·index, …, 4·index + 3.
__device__ inline float4 normal_noise(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image,
                                      std::int64_t index) {
    const PhiloxBlock words =
        philox_block(seed, {{std::uint32_t(index), image, epoch, std::uint32_t(Purpose::noise)}});
    return make_float4(inverse_normal(words.word[0]), inverse_normal(words.word[1]),
                       inverse_normal(words.word[2]), inverse_normal(words.word[3]));
}

}  // namespace tvmap::cuda
