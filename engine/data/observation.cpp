#include "engine/data/observation.h"

#include "engine/config/solver_problem.h"
#include "engine/data/counts.h"
#include "kernels/family/family.h"
#include "kernels/training/random.h"

namespace tvmap {

std::vector<float> in_blocks(const float* image, int height, int width, int channels, int factor) {
    std::vector<float> large;
    large.reserve(std::size_t(height) * std::size_t(width) * std::size_t(channels * factor * factor));
    for (int i = 0; i < height * factor; ++i)
        for (int j = 0; j < width * factor; ++j) {
            const float* pixel = image + (std::int64_t(i / factor) * width + j / factor) * channels;
            large.insert(large.end(), pixel, pixel + channels);
        }
    return large;
}

Observer::Observer(const ObservationConfig& observation)
    : observation_(observation), kernel_(blur_kernel(observation)) {}

double Observer::gain(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image_number) const {
    const Range& range = observation_.gain;
    const float drawn = range.fixed() ? 0.0f : uniform(seed, Purpose::gain, epoch, image_number, 0);
    return range.from + (range.to - range.from) * drawn;
}

float Observer::observe(const EpochNoise& noise, const Dataset& data, int image_number, int height, int width,
                        const float* clean, float* image, float* weights) const {
    const float sigma = make_noisy(noise, data, image_number, std::int64_t(height) * width, clean, image);
    observe(noise.seed, noise.epoch, std::uint32_t(image_number), height, width,
            noise_scale(noise.noise, sigma, data, image_number), clean, image, weights);
    return sigma;
}

void Observer::observe(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image_number, int height,
                       int width, float deviation, const float* clean, float* image, float* weights) const {
    const std::int64_t pixels = std::int64_t(height) * width;
    if (observation_.sight == Sight::identity) return;
    if (observation_.sight == Sight::poisson) {
        const float of_image = float(gain(seed, epoch, image_number));
        for (std::int64_t i = 0; i < pixels; ++i) {
            const float u = uniform(seed, Purpose::count, epoch, image_number, std::uint32_t(i));
            const std::int64_t counts = poisson_number(double(clean[i]) / of_image, u);
            image[i] = float(double(of_image) * double(counts) + (double(image[i]) - double(clean[i])));
        }
        return count_weights({of_image, deviation}, image, height, width, weights);
    }
    if (observation_.sight == Sight::mask) {
        const float missing = float(observation_.missing);
        for (std::int64_t i = 0; i < pixels; ++i) {
            weights[i] =
                uniform(seed, Purpose::mask, epoch, image_number, std::uint32_t(i)) < missing ? 0.0f : 1.0f;
            if (weights[i] == 0.0f) image[i] = 0;
        }
        return;
    }
    if (observation_.sight == Sight::impulses) {
        const float hit = float(observation_.impulses);
        for (std::int64_t i = 0; i < pixels; ++i) {
            const float drawn = uniform(seed, Purpose::mask, epoch, image_number, std::uint32_t(i));
            if (drawn < hit) image[i] = drawn < 0.5f * hit ? 0.0f : 1.0f;
        }
        return;
    }
    SolverProblem problem;
    problem.data = observation_.data();
    problem.height = height;
    problem.width = width;
    if (observation_.sight == Sight::blur)
        problem.kernel_height = problem.kernel_width = observation_.blur_size;
    else
        problem.factor = observation_.factor;
    std::vector<float> observed(std::size_t(problem.data_size()));
    cpu::image_to_data(problem, kernel_.data(), clean, observed.data(), Write::overwrite);
    const int factor = problem.factor, columns = width / factor;
    for (int i = 0; i < height; i += factor)
        for (int j = 0; j < width; j += factor) {
            const std::int64_t first = std::int64_t(i) * width + j;
            const float noise = image[first] - clean[first];
            const float value = observed[std::size_t(i / factor) * columns + std::size_t(j / factor)] + noise;
            for (int a = 0; a < factor; ++a)
                for (int b = 0; b < factor; ++b) image[first + std::int64_t(a) * width + b] = value;
        }
}

}  // namespace tvmap
