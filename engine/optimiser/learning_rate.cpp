#include "engine/optimiser/learning_rate.h"

#include <algorithm>
#include <cmath>

namespace tvmap {
namespace {

/// When this share of the schedule is over.
double rate_at(const OptimiserConfig& optimiser, double share) {
    double rate = optimiser.rate;
    if (optimiser.schedule == RateSchedule::cosine)
        return rate * 0.5 * (1.0 + std::cos(M_PI * std::min(1.0, share)));
    if (optimiser.schedule == RateSchedule::step)
        for (const double milestone : optimiser.milestones)
            if (share > milestone) rate *= optimiser.factor;
    return rate;
}

}  // namespace

double learning_rate(const OptimiserConfig& optimiser, std::int64_t step, std::int64_t total) {
    const std::int64_t warmup = optimiser.warmup;
    if (step <= warmup) return optimiser.rate * double(step) / optimiser.warmup;
    return rate_at(optimiser, double(step - warmup) / double(std::max<std::int64_t>(1, total - warmup)));
}

double learning_rate_by_time(const OptimiserConfig& optimiser, std::int64_t step, double share) {
    const double warm = step <= optimiser.warmup ? double(step) / optimiser.warmup : 1.0;
    return warm * rate_at(optimiser, share);
}

}  // namespace tvmap
