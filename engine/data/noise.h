// The noise of an image: how strong it is, and the noisy image. Pure functions of (seed, epoch, image).
#pragma once
#include <cstdint>

#include "engine/config/config.h"
#include "engine/data/dataset.h"

namespace tvmap {

/// Epochs of the noise generator that training (1, 2, …) does not use: validation's and the test set's noise
/// never change.
constexpr std::uint32_t validation_epoch = 0, test_epoch = 0xffffffffu;
/// That of images that are observed once, for all epochs of a training without clean ones.
constexpr std::uint32_t observation_epoch = 0xfffffffeu;
/// Those of other draws of the test set's noise, from 0.
constexpr std::uint32_t redraw_epoch(int draw) { return observation_epoch - 1 - std::uint32_t(draw); }

/// σ of an image: the fixed one, or drawn uniformly from the range by (seed, epoch, image).
float noise_level(const Range& sigma, std::uint64_t seed, std::uint32_t epoch, int image);

/// The standard deviation of an image's noise: σ, or σ times the standard deviation of the whole image.
float noise_scale(const NoiseConfig& noise, float sigma, const Dataset& data, int image);

/// The noise of all images in one epoch.
struct EpochNoise {
    const NoiseConfig& noise;
    const Range& sigma;
    std::uint64_t seed = 0;
    std::uint32_t epoch = 0;
};

/// noisy = clean + noise_scale·n with σ from the range, for `count` values of an image. Returns σ.
float make_noisy(const EpochNoise& of, const Dataset& data, int image, std::int64_t count, const float* clean,
                 float* noisy);

}  // namespace tvmap
