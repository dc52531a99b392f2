// Loss and Adam in double, one number at a time.
#pragma once
#include <cmath>
#include <vector>

namespace reference {

/// Mean over images of MSE or of log MSE; `size` values an image.
inline double loss(bool logarithmic, const std::vector<double>& x, const std::vector<double>& target,
                   int images) {
    const std::size_t size = x.size() / images;
    double total = 0;
    for (int n = 0; n < images; ++n) {
        double sum = 0;
        for (std::size_t i = n * size; i < (n + 1) * size; ++i)
            sum += (x[i] - target[i]) * (x[i] - target[i]);
        total += logarithmic ? std::log(std::max(sum / size, 1e-12)) : sum / size;
    }
    return total / images;
}

/// Mean over pairs x(z + εv), x(z − εv) of Stein's estimate of the mean squared error, v = σω; `target` is z, v in turn.
/// Written as it is in books: residual − σ² + 2σ²·divergence/size, the divergence by ωᵀ(x(z + εσω) − x(z − εσω))/(2εσ), the
/// residual the mean of both, and σ² as the probe has it.
inline double sure(double epsilon, const std::vector<double>& x, const std::vector<double>& target,
                   int pairs) {
    const std::size_t size = x.size() / (2 * std::size_t(pairs));
    double total = 0;
    for (int n = 0; n < pairs; ++n) {
        const double *x1 = &x[2 * n * size], *x2 = x1 + size, *z = &target[2 * n * size], *v = z + size;
        double up = 0, down = 0, divergence = 0, variance = 0;
        for (std::size_t i = 0; i < size; ++i) variance += v[i] * v[i] / double(size);
        const double sigma = std::sqrt(variance);
        for (std::size_t i = 0; i < size; ++i) {
            const double omega = v[i] / sigma;
            up += (x1[i] - z[i]) * (x1[i] - z[i]) / double(size);
            down += (x2[i] - z[i]) * (x2[i] - z[i]) / double(size);
            divergence += omega * (x1[i] - x2[i]) / (2 * epsilon * sigma);
        }
        const double residual = (up + down) / 2;
        total += residual - sigma * sigma + 2 * sigma * sigma * divergence / double(size);
    }
    return total / pairs;
}

struct AdamState {
    double w = 0, m = 0, v = 0;
    void step(int t, double g, double rate, double beta1, double beta2, double eps) {
        m = beta1 * m + (1 - beta1) * g;
        v = beta2 * v + (1 - beta2) * g * g;
        const double m_hat = m / (1 - std::pow(beta1, t)), v_hat = v / (1 - std::pow(beta2, t));
        w -= rate * m_hat / (std::sqrt(v_hat) + eps);
    }
};

}  // namespace reference
