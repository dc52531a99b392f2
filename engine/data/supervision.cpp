#include "engine/data/supervision.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/data/noise.h"
#include "engine/data/noise_estimate.h"
#include "kernels/training/random.h"
#include "kernels/training/square.h"

namespace tvmap {
namespace {

/// The item's square as it was observed, with noise of this purpose where it is simulated. A pixel's noise is its own,
/// whatever square it is seen in, and however that is turned.
void observe(const Config& config, const Dataset& data, const BatchItem& item, int side, Purpose purpose,
             float* z) {
    const int image = int(item.image), width = data.width(image);
    const bool simulated = config.noise.source == NoiseSource::simulated;
    const auto length = std::size_t(side);
    std::vector<float> square(length * length), normal(length);
    data.copy(image, item.top, item.left, side, false, square.data());
    for (int i = 0; simulated && i < side; ++i) {
        float* const row = &square[std::size_t(i) * length];
        cpu::normal_numbers(config.seed, purpose, observation_epoch, item.image,
                            std::int64_t(item.top + i) * width + item.left, side, normal.data());
        for (int j = 0; j < side; ++j) row[j] += item.scale * normal[std::size_t(j)];
    }
    for (int i = 0; i < side; ++i)
        copy_row(
            square.data(), side, side, i, item.mirror != 0, item.quarters, [](float value) { return value; },
            z + std::int64_t(i) * side);
}

}  // namespace

float noise_deviation(const Config& config, const Dataset& data, int image, std::uint32_t epoch) {
    const NoiseConfig& noise = config.noise;
    if (noise.source == NoiseSource::given) return float(noise.sigma.from);
    if (noise.source == NoiseSource::simulated)
        return noise_scale(noise, noise_level(noise.sigma, config.seed, epoch, image), data, image);
    std::vector<float> whole(std::size_t(data.pixels(image)));
    data.copy(image, whole.data());
    return float(estimate_noise(whole.data(), data.height(image), data.width(image)));
}

void recorrupt(const NoisyImage& of, double alpha, std::int64_t count, const float* z, float* y1, float* y2) {
    const float up = float(of.sigma * std::sqrt(alpha / (1 - alpha)));
    const float down = float(of.sigma * std::sqrt((1 - alpha) / alpha));
    std::vector<float> omega(std::size_t(count), 0.0f);
    cpu::normal_numbers(of.seed, Purpose::recorruption, of.epoch, of.image, 0, count, omega.data());
    for (std::int64_t i = 0; i < count; ++i) {
        y2[i] = z[i] - down * omega[std::size_t(i)];
        y1[i] = z[i] + up * omega[std::size_t(i)];
    }
}

void probe(const NoisyImage& of, double epsilon, std::int64_t count, const float* z, float* up, float* down,
           float* v) {
    cpu::normal_numbers(of.seed, Purpose::probe, of.epoch, of.image, 0, count, v);
    for (std::int64_t i = 0; i < count; ++i) {
        v[i] *= of.sigma;
        const float step = float(epsilon) * v[i];
        down[i] = z[i] - step;
        up[i] = z[i] + step;
    }
}

void make_unsupervised(const Config& config, const Dataset& data, const BatchItem& item, int side, float* fed,
                       float* target) {
    const std::int64_t pixels = std::int64_t(side) * side;
    const NoisyImage image{config.seed, item.epoch, item.image, item.scale};
    observe(config, data, item, side, Purpose::noise, fed);
    switch (config.train.supervision) {
        case Supervision::clean:
            break;
        case Supervision::r2r:
            recorrupt(image, config.train.r2r_alpha, pixels, fed, fed, target);
            break;
        case Supervision::sure:
            std::copy(fed, fed + pixels, target);
            probe(image, config.train.sure_epsilon, pixels, fed, fed, fed + pixels, target + pixels);
            break;
        case Supervision::pairs:
            observe(config, data, item, side, Purpose::second_noise, target);
            break;
    }
    if (!config.network.normalise || !(item.scale > 0)) return;
    for (std::int64_t i = 0; i < pixels * config.train.fed_images(); ++i)
        fed[i] /= item.scale, target[i] /= item.scale;
}

}  // namespace tvmap
