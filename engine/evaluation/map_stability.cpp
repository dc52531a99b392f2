#include "engine/evaluation/map_stability.h"

#include <cmath>

#include "engine/evaluation/statistics.h"

namespace tvmap {

// Welford's recurrence, which loses nothing where the spread is small against the mean.
void MapDraws::add(const float* lambda, double psnr) {
    psnr_.push_back(psnr);
    const auto count = double(psnr_.size());
    for (std::size_t i = 0; i < mean_.size(); ++i) {
        const double before = lambda[i] - mean_[i];
        mean_[i] += before / count;
        squares_[i] += before * (lambda[i] - mean_[i]);
    }
}

MapStability MapDraws::stability() const {
    if (psnr_.size() < 2) return {};
    double variance = 0, mean = 0;
    for (std::size_t i = 0; i < mean_.size(); ++i) {
        variance += squares_[i] / double(psnr_.size() - 1) / double(mean_.size());
        mean += mean_[i] / double(mean_.size());
    }
    return {std::sqrt(variance) / mean, statistic(psnr_).deviation};
}

}  // namespace tvmap
