// The windows of the two SSIMs in kernels/training/metrics.h.
#pragma once
#include <cmath>

namespace tvmap {

inline constexpr double ssim_c1 = 0.01 * 0.01, ssim_c2 = 0.03 * 0.03;  // (K·range)²

/// A separable window: `taps` weights that sum up to one.
struct SsimWindow {
    static constexpr int most_taps = 11;
    int taps = 0;
    double weight[most_taps] = {};
    double covariance_scale = 1;  ///< 1 for the population covariance, n/(n−1) for that of a sample of n
};

inline SsimWindow uniform_ssim_window() {
    SsimWindow window{.taps = 7, .covariance_scale = 49.0 / 48.0};
    for (int k = 0; k < window.taps; ++k) window.weight[k] = 1.0 / window.taps;
    return window;
}

inline SsimWindow gaussian_ssim_window() {
    constexpr double deviation = 1.5;
    SsimWindow window{.taps = 11};
    const int centre = window.taps / 2;
    double sum = 0;
    for (int k = 0; k < window.taps; ++k) {
        const double distance = k - centre;
        window.weight[k] = std::exp(-distance * distance / (2 * deviation * deviation));
        sum += window.weight[k];
    }
    for (int k = 0; k < window.taps; ++k) window.weight[k] /= sum;
    return window;
}

}  // namespace tvmap
