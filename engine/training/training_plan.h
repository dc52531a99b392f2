// A training run planned to the last byte, and nothing of it allocated yet.
#pragma once
#include <memory>
#include <vector>

#include "engine/config/config.h"
#include "engine/data/dataset.h"
#include "engine/graph/plan.h"
#include "engine/model/denoiser.h"
#include "engine/training/memory_report.h"

namespace tvmap {

struct TrainingPlan {
    /// For so many images. What the process or the device has in use grows by the primitives
    /// alone, which are measured, and for a while by what timing takes. With train.memory_limit a batch that was
    /// never timed takes the algorithms of a smaller one (Algorithms::borrow). What Algorithms::plan_untimed says is
    /// not timed makes this a plan that cannot be run.
    TrainingPlan(Backend& backend, const Config& config, Algorithms& algorithms, ImageCounts images);

    Value noisy, target, weights;
    /// A training step of each of the equal parts that a batch is taken in; one where it is taken whole. A backend that
    /// works in the host's memory takes as many parts as there are threads, or some times as many, where they divide the
    /// batch (and fit train.memory_limit): each thread takes parts whole (see kernels/threads/team.h), on its own, for
    /// which these plans are made then.
    std::vector<std::unique_ptr<Plan>> steps;
    int parts() const { return int(steps.size()); }
    /// Nothing of a training step outlives it but the parameters, so validation takes its turn in the same
    /// arena.
    std::unique_ptr<Denoiser> validation;
    /// Of the first part's arena; those of the others are as large as their plans say.
    std::size_t arena_bytes = 0;
    std::size_t parameter_bytes = 0;
    bool recorded = false;          ///< whether a step is recorded and replayed
    bool resident = false;          ///< whether training and validation set lie in the backend's memory
    std::size_t in_use_before = 0;  ///< by the process or on the device
    MemoryReport memory;

  private:
    void make(Backend& backend, const Config& config, Algorithms& algorithms, ImageCounts images, int parts);
};

/// Bytes in use by the process where the backend works in the host's memory, else on the device.
std::size_t memory_in_use(const Backend& backend);

}  // namespace tvmap
