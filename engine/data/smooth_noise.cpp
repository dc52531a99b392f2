#include "engine/data/smooth_noise.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/training/random.h"

namespace tvmap {
namespace {

/// Cubic B-spline weights of the four lattice points around a position `t` past the second.
std::array<double, 4> spline_weights(double t) {
    const double s = 1 - t;
    return {s * s * s / 6, (4 - 6 * t * t + 3 * t * t * t) / 6, (4 - 6 * s * s + 3 * s * s * s) / 6,
            t * t * t / 6};
}

}  // namespace

// The mean over t of Σw² is 151/315 in each dimension, and a uniform number in [−½, ½) has the variance 1/12:
// the scale below makes the field's mean variance 1.
SmoothNoise::SmoothNoise(std::uint64_t seed, std::uint32_t item, std::uint32_t layer, double extent,
                         double wavelength)
    : cell_(wavelength / 2), side_(int(extent / cell_) + 5), lattice_(std::size_t(side_) * side_) {
    const double scale = std::sqrt(12.0) * 315 / 151;
    for (std::size_t i = 0; i < lattice_.size(); ++i)
        lattice_[i] = float(scale * (uniform(seed, Purpose::phantom, layer, item, std::uint32_t(i)) - 0.5));
}

double SmoothNoise::operator()(double x, double y) const {
    const double across = std::clamp(x / cell_, 0.0, double(side_ - 4)),
                 down = std::clamp(y / cell_, 0.0, double(side_ - 4));
    const int column = int(across), row = int(down);
    const auto wx = spline_weights(across - column), wy = spline_weights(down - row);
    double sum = 0;
    for (int i = 0; i < 4; ++i) {
        const float* points = &lattice_[std::size_t(row + i) * side_ + column];
        sum += wy[i] * (wx[0] * points[0] + wx[1] * points[1] + wx[2] * points[2] + wx[3] * points[3]);
    }
    return sum;
}

}  // namespace tvmap
