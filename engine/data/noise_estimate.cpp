#include "engine/data/noise_estimate.h"

#include <cmath>
#include <cstddef>
#include <limits>
#include <numbers>

namespace tvmap {

bool shows_noise(const ObservationConfig& observation) {
    return observation.sight == Sight::identity || observation.sight == Sight::blur;
}

double estimate_noise(const float* image, int height, int width) {
    if (height < 3 || width < 3) return std::numeric_limits<double>::quiet_NaN();
    // Second differences along a row; the mask is their second difference across rows.
    const auto across = [&](int i, int j) {
        const float* at = image + std::size_t(i) * std::size_t(width) + j;
        return double(at[-1]) - 2 * double(at[0]) + double(at[1]);
    };
    double sum = 0;
    for (int i = 1; i + 1 < height; ++i)
        for (int j = 1; j + 1 < width; ++j)
            sum += std::abs(across(i - 1, j) - 2 * across(i, j) + across(i + 1, j));
    return std::sqrt(std::numbers::pi / 2) / 6 * sum / (double(height - 2) * double(width - 2));
}

}  // namespace tvmap
