// Training without clean images: what the network is fed and what its result is compared with, where nobody looks at the
// truth. An image x was observed once as z = x + σn, of known σ: its noise is the same in every epoch.
//     pairs   z against a second observation of its own noise                     (Noise2Noise, Lehtinen et al., ICML 2018)
//     r2r     y₁ = z + √(α/(1−α))·σω against y₂ = (z − (1−α)y₁)/α = z − √((1−α)/α)·σω, ω standard normal
//                                           (recorrupted-to-recorrupted, Pang, Zheng, Quan and Ji, CVPR 2021)
//     sure    z + ε·v and z − ε·v, v = σω, against z and v: the pairs of kernels/training/loss.h. It is what r2r comes to, but for
//             a constant, with α = ε²/(1 + ε²) and both ω and −ω for each image, whose largest errors cancel
// The noise of y₂, n − √((1−α)/α)·ω, is not correlated with that of y₁, n + √(α/(1−α))·ω, and so independent of it: but for
// σ²/α the mean squared error against y₂ is in the mean that against x, on images of noise σ/√(1−α). ω is drawn anew
// in every epoch. What is trained so is used on images as they are.
// A network that sees every image at the scale of its noise (network.normalise: noise) is fed and compared in units of that
// noise: since the whole then scales with its input, the loss is the mean of MSE_n/σ_n², in which faint and strong noise
// weigh alike (log_mse, which does that with clean images, would be biased here).
// Everything that is drawn is a pure function of (seed, epoch, image, pixel).
#pragma once
#include <cstdint>

#include "engine/config/config.h"
#include "engine/data/dataset.h"
#include "kernels/training/training_step.h"

namespace tvmap {

/// The standard deviation of an image's noise, by noise.source: added in this epoch, given, or estimated of all of
/// the image.
float noise_deviation(const Config& config, const Dataset& data, int image, std::uint32_t epoch);

/// What names the numbers that are drawn for an image, and the standard deviation of its noise.
struct NoisyImage {
    std::uint64_t seed = 0;
    std::uint32_t epoch = 0, image = 0;
    float sigma = 0;
};

/// y₁ and y₂ of `count` values z. y₁ may be z.
void recorrupt(const NoisyImage& of, double alpha, std::int64_t count, const float* z, float* y1, float* y2);

/// z + ε·v, z − ε·v and v of `count` values z. `up` may be z.
void probe(const NoisyImage& of, double epsilon, std::int64_t count, const float* z, float* up, float* down,
           float* v);

/// For one item of a batch, whose scale is σ: what the network is fed and what that is compared with, of the item's square;
/// train.fed_images() × side × side each. train.supervision is not clean.
void make_unsupervised(const Config& config, const Dataset& data, const BatchItem& item, int side, float* fed,
                       float* target);

}  // namespace tvmap
