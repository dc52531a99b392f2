// PSNR, and SSIM window by window, two passes each (means first, then centred moments), in double.
#pragma once
#include <cmath>
#include <vector>

namespace reference {

/// `weights`: taps×taps, summing up to one. `covariance_scale`: n/(n−1) for a sample, 1 for a population.
inline double ssim(const std::vector<float>& x, const std::vector<float>& y, int height, int width, int taps,
                   const std::vector<double>& weights, double covariance_scale) {
    double sum = 0;
    int count = 0;
    for (int i = 0; i + taps <= height; ++i)
        for (int j = 0; j + taps <= width; ++j, ++count) {
            double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
            for (int k = 0; k < taps * taps; ++k) {
                const int at = (i + k / taps) * width + j + k % taps;
                mx += weights[k] * x[at];
                my += weights[k] * y[at];
            }
            for (int k = 0; k < taps * taps; ++k) {
                const int at = (i + k / taps) * width + j + k % taps;
                xx += covariance_scale * weights[k] * (x[at] - mx) * (x[at] - mx);
                yy += covariance_scale * weights[k] * (y[at] - my) * (y[at] - my);
                xy += covariance_scale * weights[k] * (x[at] - mx) * (y[at] - my);
            }
            const double c1 = 1e-4, c2 = 9e-4;
            sum += (2 * mx * my + c1) * (2 * xy + c2) / ((mx * mx + my * my + c1) * (xx + yy + c2));
        }
    return sum / count;
}

inline double psnr(const std::vector<float>& x, const std::vector<float>& y) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += (double(x[i]) - y[i]) * (double(x[i]) - y[i]);
    return 10 * std::log10(double(x.size()) / sum);
}

inline std::vector<double> uniform_window() { return std::vector<double>(49, 1.0 / 49); }

inline std::vector<double> gaussian_window() {
    std::vector<double> weights(121);
    double sum = 0;
    for (int k = 0; k < 121; ++k) {
        const double di = k / 11 - 5, dj = k % 11 - 5;
        sum += weights[k] = std::exp(-(di * di + dj * dj) / (2 * 1.5 * 1.5));
    }
    for (double& w : weights) w /= sum;
    return weights;
}

}  // namespace reference
