// The layers around the convolutions, in double, straight from their definitions. Arrays are N×C×H×W, dense;
// planes = N·C.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

namespace reference {

using Array = std::vector<double>;

/// The noise's standard deviation by Immerkær (1996), from the mask's nine numbers.
inline double noise_level(const double* z, int h, int w) {
    const int mask[3][3] = {{1, -2, 1}, {-2, 4, -2}, {1, -2, 1}};
    double sum = 0;
    for (int i = 1; i < h - 1; ++i)
        for (int j = 1; j < w - 1; ++j) {
            double response = 0;
            for (int a = -1; a <= 1; ++a)
                for (int b = -1; b <= 1; ++b) response += mask[a + 1][b + 1] * z[(i + a) * w + j + b];
            sum += std::abs(response);
        }
    return std::sqrt(std::acos(-1.0) / 2) * sum / (6.0 * (w - 2) * (h - 2));
}

inline Array max_pool(const Array& x, int planes, int h, int w) {
    const int h2 = h / 2, w2 = w / 2;
    Array y(std::size_t(planes) * h2 * w2);
    for (int p = 0; p < planes; ++p)
        for (int i = 0; i < h2; ++i)
            for (int j = 0; j < w2; ++j) {
                double m = -INFINITY;
                for (int k = 0; k < 4; ++k) m = std::max(m, x[(p * h + 2 * i + k / 2) * w + 2 * j + k % 2]);
                y[(p * h2 + i) * w2 + j] = m;
            }
    return y;
}

inline Array max_pool_backward(const Array& x, const Array& d_y, int planes, int h, int w) {
    const int h2 = h / 2, w2 = w / 2;
    Array d_x(x.size(), 0.0);
    for (int p = 0; p < planes; ++p)
        for (int i = 0; i < h2; ++i)
            for (int j = 0; j < w2; ++j) {
                int first = (p * h + 2 * i) * w + 2 * j;
                for (int k = 1; k < 4; ++k) {
                    const int at = (p * h + 2 * i + k / 2) * w + 2 * j + k % 2;
                    if (x[at] > x[first]) first = at;
                }
                d_x[first] += d_y[(p * h2 + i) * w2 + j];
            }
    return d_x;
}

/// Entry (i, k) of the 2n×n matrix that interpolates n values at the places i·(n−1)/(2n−1).
inline double upsampling_weight(int i, int k, int n) {
    const double s = double(i) * (n - 1) / (2 * n - 1);
    return std::max(0.0, 1 - std::abs(s - k));
}

inline Array upsample(const Array& x, int planes, int h, int w) {
    Array y(x.size() * 4, 0.0);
    for (int p = 0; p < planes; ++p)
        for (int i = 0; i < 2 * h; ++i)
            for (int j = 0; j < 2 * w; ++j)
                for (int k = 0; k < h; ++k) {
                    const double row = upsampling_weight(i, k, h);
                    if (row == 0) continue;
                    for (int l = 0; l < w; ++l)
                        y[(p * 2 * h + i) * 2 * w + j] +=
                            row * upsampling_weight(j, l, w) * x[(p * h + k) * w + l];
                }
    return y;
}

inline Array upsample_backward(const Array& d_y, int planes, int h, int w) {
    Array d_x(d_y.size() / 4, 0.0);
    for (int p = 0; p < planes; ++p)
        for (int i = 0; i < 2 * h; ++i)
            for (int j = 0; j < 2 * w; ++j)
                for (int k = 0; k < h; ++k) {
                    const double row = upsampling_weight(i, k, h);
                    if (row == 0) continue;
                    for (int l = 0; l < w; ++l)
                        d_x[(p * h + k) * w + l] +=
                            row * upsampling_weight(j, l, w) * d_y[(p * 2 * h + i) * 2 * w + j];
                }
    return d_x;
}

inline double leaky_relu(double x, double slope) { return x > 0 ? x : slope * x; }

inline double softplus(double r) { return std::max(r, 0.0) + std::log1p(std::exp(-std::abs(r))); }
inline double sigmoid(double r) { return 1 / (1 + std::exp(-r)); }

/// Λ of the raw output r.
inline double map_from_raw(double r, double scale, double up_bound) {
    return up_bound > 0 ? up_bound * sigmoid(r) : scale * softplus(r);
}

}  // namespace reference
