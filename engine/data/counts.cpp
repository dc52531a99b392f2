#include "engine/data/counts.h"

#include <math.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/config/config.h"

namespace tvmap {

std::int64_t poisson_number(double mean, double u) {
    if (!(mean > 0)) return 0;
    const double mode = std::floor(mean);
    int sign = 0;
    const double most = std::exp(mode * std::log(mean) - mean - lgamma_r(mode + 1, &sign));  // P(mode)
    double above = mode, below = mode, p_above = most, p_below = most, left = u - most;
    while (left >= 0) {
        above += 1;
        p_above *= mean / above;
        left -= p_above;
        if (left < 0) return std::int64_t(above);
        if (below > 0) {
            p_below *= below / mean;
            below -= 1;
            left -= p_below;
            if (left < 0) return std::int64_t(below);
        } else if (p_above == 0) {  // u is above what the rounded probabilities add up to
            break;
        }
    }
    return std::int64_t(mode);
}

void count_weights(const CountNoise& noise, const float* image, int height, int width, float* weights) {
    constexpr int reach = 2;
    const double gain = noise.gain, read_out = double(noise.deviation) * noise.deviation;
    double sum = 0;
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j) {
            const int top = std::max(i - reach, 0), bottom = std::min(i + reach, height - 1);
            const int left = std::max(j - reach, 0), right = std::min(j + reach, width - 1);
            double around = 0;
            for (int a = top; a <= bottom; ++a)
                for (int b = left; b <= right; ++b) around += image[std::ptrdiff_t(a) * width + b];
            const double mean = around / ((bottom - top + 1) * (right - left + 1));
            const double precision = 1 / (gain * std::max(mean, gain) + read_out);
            weights[std::ptrdiff_t(i) * width + j] = float(precision);
            sum += precision;
        }
    const std::ptrdiff_t pixels = std::ptrdiff_t(height) * width;
    const double scale = double(pixels) / sum;
    for (std::ptrdiff_t i = 0; i < pixels; ++i) weights[i] = float(std::min(scale * weights[i], most_weight));
}

}  // namespace tvmap
