// tvmap train of several runs: a sweep, folds, or both.
#pragma once
#include <functional>
#include <string>

#include "apps/program/command.h"
#include "engine/config/config.h"
#include "engine/model/checkpoint.h"

namespace tvmap {

/// Trains one run in its folder; false where it was interrupted.
using TrainRun = std::function<bool(const Config& config, const std::string& folder,
                                    const CommonOptions& common, Progress& reached)>;

/// Trains, and of folds tests, what is not finished of a queue in `folder` (see engine/queue/queue.h), and prints its
/// tables. Returns the exit code.
int train_queue(const Sweep& sweep, const std::string& folder, bool resume, const TrainRun& train,
                const CommonOptions& common);

}  // namespace tvmap
