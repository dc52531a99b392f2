// The optimiser steps of a training run, of train.accumulate batches each, one after the other, in either of two ways
// with the same results up to the backend's rounding:
//     from the host    each batch is prepared by a thread and uploaded, each loss read at once
//     resident         the training set and a schedule of the epoch's batches lie in the backend's memory; a recorded
//                      batch and a recorded step are replayed, and losses are read a few steps at a time
// The first suits a backend that works in the host's memory, the second one that has its own.
#pragma once
#include <memory>
#include <vector>

#include "engine/graph/plan.h"
#include "engine/optimiser/learning_rate.h"
#include "engine/optimiser/optimiser.h"
#include "engine/optimiser/run_clock.h"
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
    Value weights = {};               ///< of the pixels of `noisy`, where the data term weighs
    const RunClock* clock = nullptr;  ///< in a run by time
    std::int64_t left_out = 0;        ///< steps that earlier epochs lack, since time was up
};

/// The steps of a training, one after the other. For one thread at a time.
class TrainingSteps {
  public:
    virtual ~TrainingSteps() = default;

    /// Takes one or several steps, all of one epoch; returns the losses of those taken, each the mean of its batches'.
    virtual const std::vector<double>& take() = 0;
};

class HostSteps final : public TrainingSteps {
  public:
    /// Goes on at step `step` (from 0) of epoch `epoch` (from 1).
    HostSteps(const TrainingParts& parts, int epoch, int step);
    const std::vector<double>& take() override;

  private:
    /// Of the batch that was taken last: the mean of its images', and so of its equal parts'.
    double batch_loss() const;

    TrainingParts parts_;
    Batches batches_;
    Optimiser optimiser_;
    std::int64_t steps_;  // done
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
    void upload_factors(int from, int count);
    void replay_step();

    TrainingParts parts_;
    Plan& plan_;
    Optimiser optimiser_;
    int accumulate_, steps_per_epoch_, epoch_, step_;
    DeviceArray<float> images_;
    DeviceArray<std::uint32_t> counter_;
    DeviceArray<AdamStep> adam_;  // this and the next two by batch
    DeviceArray<BatchItem> items_;
    DeviceArray<double> device_losses_;
    Schedule schedule_;
    std::unique_ptr<Batches> batches_;      // unless the training set is resident
    std::unique_ptr<Recording> recording_;  // of a step's last batch and of the step
    std::unique_ptr<Recording> gathering_;  // of a batch before it, where there are any
    double seconds_per_step_ = 0;           // 0: not measured yet
    std::vector<double> batch_losses_, losses_;
};

}  // namespace tvmap
