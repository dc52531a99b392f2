#include "engine/data/observation.h"

#include "engine/config/solver_problem.h"
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

void Observer::observe(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image_number, int height,
                       int width, const float* clean, float* image, float* weights) const {
    const std::int64_t pixels = std::int64_t(height) * width;
    if (observation_.data == DataTerm::identity) return;
    if (weighs()) {
        const float missing = float(observation_.missing);
        for (std::int64_t i = 0; i < pixels; ++i) {
            weights[i] =
                uniform(seed, Purpose::mask, epoch, image_number, std::uint32_t(i)) < missing ? 0.0f : 1.0f;
            if (weights[i] == 0.0f) image[i] = 0;
        }
        return;
    }
    if (observation_.data == DataTerm::huber) {
        const float hit = float(observation_.impulses);
        for (std::int64_t i = 0; i < pixels; ++i) {
            const float drawn = uniform(seed, Purpose::mask, epoch, image_number, std::uint32_t(i));
            if (drawn < hit) image[i] = drawn < 0.5f * hit ? 0.0f : 1.0f;
        }
        return;
    }
    SolverProblem problem;
    problem.data = observation_.data;
    problem.height = height;
    problem.width = width;
    if (observation_.data == DataTerm::blur)
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
