// A step of the optimiser in double, one number at a time: the mean of several batches' gradients, clipped, decoupled
// decay, Adam, and the moving average of the weights.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

namespace reference {

struct OptimiserSettings {
    double rate = 1e-2, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double weight_decay = 0;  ///< of those that `decays` names
    double clip = 0;          ///< the largest norm; 0: none
    double ema = 0;           ///< 0: no average
};

struct Optimiser {
    OptimiserSettings settings;
    std::vector<bool> decays;
    std::vector<double> w, m, v, average;
    int t = 0;

    Optimiser(const OptimiserSettings& s, const std::vector<double>& start, const std::vector<bool>& decaying)
        : settings(s), decays(decaying), w(start), m(start.size()), v(start.size()), average(start) {}

    /// By the gradients of all the batches of a step.
    void step(const std::vector<std::vector<double>>& batches) {
        const std::size_t count = w.size();
        std::vector<double> g(count, 0);
        for (const auto& batch : batches)
            for (std::size_t i = 0; i < count; ++i) g[i] += batch[i] / double(batches.size());
        double norm = 0;
        for (const double x : g) norm += x * x;
        norm = std::sqrt(norm);
        if (settings.clip > 0 && norm > settings.clip)
            for (double& x : g) x *= settings.clip / norm;
        ++t;
        const double d = std::min(settings.ema, (1.0 + t) / (10.0 + t));
        for (std::size_t i = 0; i < count; ++i) {
            if (decays[i]) w[i] -= settings.rate * settings.weight_decay * w[i];
            m[i] = settings.beta1 * m[i] + (1 - settings.beta1) * g[i];
            v[i] = settings.beta2 * v[i] + (1 - settings.beta2) * g[i] * g[i];
            const double m_hat = m[i] / (1 - std::pow(settings.beta1, t)),
                         v_hat = v[i] / (1 - std::pow(settings.beta2, t));
            w[i] -= settings.rate * m_hat / (std::sqrt(v_hat) + settings.eps);
            average[i] = d * average[i] + (1 - d) * w[i];
        }
    }
};

}  // namespace reference
