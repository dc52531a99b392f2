// Convolution by its definition, in double, on plain NCHW arrays. Includes nothing of the product.
#pragma once
#include <cstddef>
#include <vector>

namespace reference {

struct ConvolutionShape {
    int n, inputs, outputs, h, w, kernel;
};

using Doubles = std::vector<double>;

/// Calls visit(x index, weight index, y index) for every product of the sum
///     a[n,o,i,j] = bias[o] + Σ_c Σ_u Σ_v weight[o,c,u,v]·x[n,c,i+u−k/2,j+v−k/2].
template <class Visit>
void for_each_product(const ConvolutionShape& s, const Visit& visit) {
    const int k = s.kernel;
    const auto at = [&](int n, int channels, int c, int i, int j) {
        return ((std::size_t(n) * channels + c) * s.h + i) * s.w + j;
    };
    for (int n = 0; n < s.n; ++n)
        for (int o = 0; o < s.outputs; ++o)
            for (int c = 0; c < s.inputs; ++c)
                for (int u = 0; u < k; ++u)
                    for (int v = 0; v < k; ++v)
                        for (int i = 0; i < s.h; ++i)
                            for (int j = 0; j < s.w; ++j) {
                                const int row = i + u - k / 2, column = j + v - k / 2;
                                if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
                                visit(at(n, s.inputs, c, row, column),
                                      ((std::size_t(o) * s.inputs + c) * k + u) * k + v,
                                      at(n, s.outputs, o, i, j));
                            }
}

/// y = leaky_relu(a).
inline Doubles convolution_forward(const ConvolutionShape& s, const Doubles& x, const Doubles& weight,
                                   const Doubles& bias, double slope) {
    const std::size_t pixels = std::size_t(s.h) * s.w;
    Doubles y(s.n * s.outputs * pixels);
    for (std::size_t k = 0; k < y.size(); ++k) y[k] = bias[k / pixels % s.outputs];
    for_each_product(s, [&](std::size_t i, std::size_t p, std::size_t o) { y[o] += weight[p] * x[i]; });
    for (double& value : y)
        if (value <= 0) value *= slope;
    return y;
}

struct ConvolutionGradients {
    Doubles d_x, d_weight, d_bias;
};

/// The transpose of the same sum. y decides the side of the kink.
inline ConvolutionGradients convolution_backward(const ConvolutionShape& s, const Doubles& x,
                                                 const Doubles& weight, const Doubles& y, const Doubles& d_y,
                                                 double slope) {
    const std::size_t pixels = std::size_t(s.h) * s.w;
    Doubles d_a = d_y;
    ConvolutionGradients g{Doubles(x.size()), Doubles(weight.size()), Doubles(s.outputs)};
    for (std::size_t k = 0; k < d_a.size(); ++k) {
        if (y[k] <= 0) d_a[k] *= slope;
        g.d_bias[k / pixels % s.outputs] += d_a[k];
    }
    for_each_product(s, [&](std::size_t i, std::size_t p, std::size_t o) {
        g.d_x[i] += weight[p] * d_a[o];
        g.d_weight[p] += x[i] * d_a[o];
    });
    return g;
}

}  // namespace reference
