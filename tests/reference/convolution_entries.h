// Single entries of a 3×3 convolution and of its gradients by their definition, in double, on plain NCHW arrays: for
// layers too large to be computed whole. Includes nothing of the product.
#pragma once
#include "tests/reference/convolution.h"

namespace reference {

/// The value at (i, j) of a plane; 0 outside of it.
inline double pixel(const Doubles& values, const ConvolutionShape& s, int channels, int n, int c, int i,
                    int j) {
    if (i < 0 || i >= s.h || j < 0 || j >= s.w) return 0;
    return values[((std::size_t(n) * channels + c) * s.h + i) * s.w + j];
}

/// y[n,o,i,j]
inline double convolution_entry(const ConvolutionShape& s, const Doubles& x, const Doubles& weight,
                                const Doubles& bias, double slope, int n, int o, int i, int j) {
    double a = bias[o];
    for (int c = 0; c < s.inputs; ++c)
        for (int u = 0; u < 3; ++u)
            for (int v = 0; v < 3; ++v)
                a += weight[((std::size_t(o) * s.inputs + c) * 3 + u) * 3 + v] *
                     pixel(x, s, s.inputs, n, c, i + u - 1, j + v - 1);
    return a > 0 ? a : slope * a;
}

/// d_x[n,c,i,j] of Σ d_a·a
inline double d_x_entry(const ConvolutionShape& s, const Doubles& weight, const Doubles& d_a, int n, int c,
                        int i, int j) {
    double sum = 0;
    for (int o = 0; o < s.outputs; ++o)
        for (int u = 0; u < 3; ++u)
            for (int v = 0; v < 3; ++v)
                sum += weight[((std::size_t(o) * s.inputs + c) * 3 + u) * 3 + v] *
                       pixel(d_a, s, s.outputs, n, o, i - u + 1, j - v + 1);
    return sum;
}

/// d_weight[o,c,u,v] of Σ d_a·a
inline double d_weight_entry(const ConvolutionShape& s, const Doubles& x, const Doubles& d_a, int o, int c,
                             int u, int v) {
    double sum = 0;
    for (int n = 0; n < s.n; ++n)
        for (int i = 0; i < s.h; ++i)
            for (int j = 0; j < s.w; ++j)
                sum +=
                    pixel(d_a, s, s.outputs, n, o, i, j) * pixel(x, s, s.inputs, n, c, i + u - 1, j + v - 1);
    return sum;
}

}  // namespace reference
