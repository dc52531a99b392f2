#include "engine/data/noise.h"

#include "kernels/training/random.h"

namespace tvmap {

float noise_level(const Range& sigma, std::uint64_t seed, std::uint32_t epoch, int image) {
    if (sigma.fixed()) return float(sigma.from);
    const float u = uniform(seed, Purpose::noise_level, epoch, std::uint32_t(image), 0);
    return float(sigma.from + (sigma.to - sigma.from) * u);
}

float noise_scale(const NoiseConfig& noise, float sigma, const Dataset& data, int image) {
    return noise.relative_to_image_std ? float(sigma * data.deviation(image)) : sigma;
}

float make_noisy(const EpochNoise& of, const Dataset& data, int image, std::int64_t count, const float* clean,
                 float* noisy) {
    const float sigma = noise_level(of.sigma, of.seed, of.epoch, image);
    cpu::add_noise(of.seed, of.epoch, std::uint32_t(image), count, clean,
                   noise_scale(of.noise, sigma, data, image), noisy);
    return sigma;
}

}  // namespace tvmap
