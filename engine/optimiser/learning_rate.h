// The learning rate in the course of a run.
#pragma once
#include <cstdint>

#include "engine/config/config.h"

namespace tvmap {

/// Of optimiser step `step` (from 1) of `total`: linear warm-up, then as the schedule has it for the share of the steps
/// after it that is over: constant, half a cosine down to zero, or times a factor at each milestone.
double learning_rate(const OptimiserConfig& optimiser, std::int64_t step, std::int64_t total);

/// The same in a run by time, of which `share` is over: the schedule's rate, times the warm-up's.
double learning_rate_by_time(const OptimiserConfig& optimiser, std::int64_t step, double share);

}  // namespace tvmap
