// The steps of a training run, one after the other, in either of two ways with the same results up to the
// backend's rounding:
//     from the host    each batch is prepared by a thread and uploaded, each loss read at once
//     resident         the training set and a schedule of the epoch's steps lie in the backend's memory; one
//                      recorded step is replayed, and losses are read a few steps at a time
// The first suits a backend that works in the host's memory, the second one that has its own.
#pragma once
#include <memory>
#include <vector>

#include "engine/graph/plan.h"
#include "engine/training/batches.h"
#include "kernels/device_array.h"

namespace tvmap {

/// What a step works on. All of it outlives the steps.
struct TrainingParts {
    Backend& backend;
    const Config& config;
    const Dataset& data;
    std::vector<Plan*> plans;  ///< of each part of a batch; for ResidentSteps one
    Parameters& parameters;
    Value noisy, target;
    Value weights = {};  ///< of the pixels of `noisy`, where solver.operator is mask
};

/// The learning rate of optimiser step `step` (from 1) of `total`: linear warm-up, then constant or half a
/// cosine down to zero.
double learning_rate(const OptimiserConfig& optimiser, std::int64_t step, std::int64_t total);

/// The steps of a training, one after the other. For one thread at a time.
class TrainingSteps {
  public:
    virtual ~TrainingSteps() = default;

    /// Takes one or several steps, all of one epoch; returns the losses of those taken.
    virtual const std::vector<double>& take() = 0;
};

class HostSteps final : public TrainingSteps {
  public:
    /// Goes on at step `step` (from 0) of epoch `epoch` (from 1).
    HostSteps(const TrainingParts& parts, int epoch, int step);
    const std::vector<double>& take() override;

  private:
    TrainingParts parts_;
    Batches batches_;
    std::int64_t steps_, total_;  // done, and of the whole run
    std::vector<double> loss_;
    std::unique_ptr<Team> team_;  // where a batch is divided
};

class ResidentSteps final : public TrainingSteps {
  public:
    /// Bytes in the backend's memory of the training set and of the schedule.
    static std::size_t image_bytes(const Config& config, int images);
    static std::size_t schedule_bytes(const Config& config, int images);

    /// Where the training set is not `resident`, batches are uploaded before each replay. It can be where images are
    /// observed as they are (solver.operator: identity) and compared with clean ones (train.supervision).
    ResidentSteps(const TrainingParts& parts, int epoch, int step, bool resident);
    const std::vector<double>& take() override;
    /// Of the graph that is a step.
    std::size_t graph_nodes() const { return recording_->nodes(); }

  private:
    void start_epoch(int step);

    TrainingParts parts_;
    Plan& plan_;
    int steps_per_epoch_, epoch_, step_;
    DeviceArray<float> images_;
    DeviceArray<std::uint32_t> counter_;
    DeviceArray<AdamStep> adam_;
    DeviceArray<BatchItem> items_;
    DeviceArray<double> device_losses_;
    Schedule schedule_;
    std::unique_ptr<Batches> batches_;  // unless the training set is resident
    std::unique_ptr<Recording> recording_;
    double seconds_per_step_ = 0;  // 0: not measured yet
    std::vector<double> losses_;
};

}  // namespace tvmap
