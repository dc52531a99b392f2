#include "engine/evaluation/map_stability.h"

#include <cmath>
#include <utility>

#include "engine/data/quality.h"
#include "engine/solver/solver.h"

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
    const auto others = double(psnr_.size() - 1);
    std::vector<double> relative;
    for (std::size_t i = 0; i < mean_.size(); ++i)
        if (mean_[i] > 0) relative.push_back(std::sqrt(squares_[i] / others) / mean_[i]);
    const double spread = relative.empty() ? 0 : median(std::move(relative));
    return {spread, statistic(psnr_).deviation};
}

}  // namespace tvmap
