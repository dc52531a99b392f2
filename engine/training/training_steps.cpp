#include "engine/training/training_steps.h"

#include <algorithm>

#include "engine/files/stopwatch.h"
#include "kernels/threads/threads.h"

namespace tvmap {
namespace {

/// Optimiser steps that were taken before this one of `epoch` (both from 0).
std::int64_t steps_before(const TrainingParts& parts, int epoch, int step) {
    const std::int64_t each = Batches::steps_per_epoch(parts.config, parts.data);
    return epoch * each + step - parts.left_out;
}

/// Of optimiser step `step`, from 1; in a run by time, as it is now.
double rate_of(const TrainingParts& parts, std::int64_t step) {
    const OptimiserConfig& o = parts.config.optimiser;
    if (parts.clock) return learning_rate_by_time(o, step, parts.clock->share());
    return learning_rate(o, step, steps_before(parts, parts.config.train.epochs, 0));
}

/// Part `part` of a batch, to its plan.
void upload(const TrainingParts& parts, const Plan& plan, const Batches::Batch& batch, int part = 0) {
    const auto copy = [&](Value to, const std::vector<float>& images) {
        const View view = plan.view(to);
        const std::size_t floats = std::size_t(view.shape.size());
        parts.backend.upload(view.data, images.data() + std::size_t(part) * floats, sizeof(float) * floats);
    };
    copy(parts.noisy, batch.noisy);
    copy(parts.target, batch.target);
    if (!batch.weights.empty()) copy(parts.weights, batch.weights);
}

}  // namespace

HostSteps::HostSteps(const TrainingParts& parts, int epoch, int step)
    : parts_(parts),
      batches_(parts.config, parts.data, epoch, step),
      optimiser_(parts.backend, parts.parameters, parts.config),
      steps_(steps_before(parts, epoch - 1, step)),
      loss_(1),
      team_(parts.plans.size() > 1 ? std::make_unique<Team>(std::min(int(parts.plans.size()), thread_count()))
                                   : nullptr) {}

double HostSteps::batch_loss() const {
    double loss = 0;
    for (const Plan* plan : parts_.plans) loss += plan->loss() / double(parts_.plans.size());
    return loss;
}

const std::vector<double>& HostSteps::take() {
    const int parts = int(parts_.plans.size()), accumulate = parts_.config.train.accumulate;
    ++steps_;
    loss_[0] = 0;
    for (int k = 0; k < accumulate; ++k) {
        const Batches::Batch& batch = batches_.next();
        const auto work = [&](int part) {
            Plan& plan = *parts_.plans[part];
            upload(parts_, plan, batch, part);
            plan.forward();
            plan.backward();
        };
        if (team_)
            team_->run(parts, work);
        else
            work(0);
        if (k + 1 < accumulate)
            optimiser_.gather(team_.get());
        else
            optimiser_.step(optimiser_.adam(rate_of(parts_, steps_), steps_), team_.get());
        loss_[0] += batch_loss() / accumulate;
    }
    return loss_;
}

std::size_t ResidentSteps::image_bytes(const Config& config, int images) {
    return sizeof(float) * std::size_t(images) * config.data.size * config.data.size;
}

std::size_t ResidentSteps::schedule_bytes(const Config& config, int images) {
    const std::size_t batch = config.train.batch, accumulate = config.train.accumulate;
    const std::size_t batches = std::size_t(images) / (batch * accumulate) * accumulate;
    return sizeof(std::uint32_t) + batches * (sizeof(AdamStep) + sizeof(double) + batch * sizeof(BatchItem));
}

ResidentSteps::ResidentSteps(const TrainingParts& parts, int epoch, int step, bool resident)
    : parts_(parts),
      plan_(*parts.plans.front()),
      optimiser_(parts.backend, parts.parameters, parts.config),
      accumulate_(parts.config.train.accumulate),
      steps_per_epoch_(Batches::steps_per_epoch(parts.config, parts.data)),
      epoch_(epoch),
      step_(step),
      images_(parts.backend, resident ? image_bytes(parts.config, parts.data.count()) / sizeof(float) : 0),
      counter_(parts.backend, 1),
      adam_(parts.backend, std::size_t(steps_per_epoch_) * accumulate_),
      items_(parts.backend, adam_.size() * parts.config.train.batch),
      device_losses_(parts.backend, adam_.size()),
      schedule_{int(adam_.size()), parts.config.train.batch, counter_.data(), adam_.data(),
                items_.data(),     device_losses_.data()} {
    Backend& backend = parts_.backend;
    const int count = parts_.data.count(), size = parts_.data.size();
    if (resident) {
        const std::size_t pixels = std::size_t(size) * size;
        std::vector<float> image(pixels);
        for (int i = 0; i < count; ++i) {
            parts_.data.copy(i, image.data());
            images_.upload(image.data(), pixels, i * pixels);
        }
    } else {
        batches_ = std::make_unique<Batches>(parts_.config, parts_.data, epoch, step);
    }

    // Once without being recorded: what libraries load at their first call cannot be loaded in a recording.
    plan_.forward();
    plan_.backward();
    backend.synchronise();
    const TrainingImages set{images_.data(), count, size};
    const auto batch = [this, resident, set] {
        if (resident)
            parts_.backend.make_batch(parts_.config.seed, set, schedule_, plan_.view(parts_.target),
                                      plan_.view(parts_.noisy));
        plan_.forward();
        plan_.backward();
    };
    recording_ = backend.record([this, batch] {
        batch();
        optimiser_.step(schedule_);
        parts_.backend.finish_step(schedule_, plan_.loss_in_memory());
    });
    if (accumulate_ > 1)
        gathering_ = backend.record([this, batch] {
            batch();
            optimiser_.gather();
            parts_.backend.finish_step(schedule_, plan_.loss_in_memory());
        });
    start_epoch(step);
}

/// Uploads the schedule of the epoch under way, to go on at `step`.
void ResidentSteps::start_epoch(int step) {
    const std::vector<BatchItem> items = epoch_items(parts_.config, parts_.data, epoch_);
    const std::uint32_t next = std::uint32_t(step) * std::uint32_t(accumulate_);
    items_.upload(items.data(), items.size());
    counter_.upload(&next, 1);
    upload_factors(0, steps_per_epoch_);
}

/// Of `count` steps of the epoch from step `from` (from 0) on.
void ResidentSteps::upload_factors(int from, int count) {
    std::vector<AdamStep> factors;
    for (int s = from; s < from + count; ++s) {
        const std::int64_t step = steps_before(parts_, epoch_ - 1, s) + 1;
        factors.insert(factors.end(), std::size_t(accumulate_),
                       AdamStep(optimiser_.adam(rate_of(parts_, step), step)));
    }
    adam_.upload(factors.data(), factors.size(), std::size_t(from) * accumulate_);
}

void ResidentSteps::replay_step() {
    for (int k = 0; k < accumulate_; ++k) {
        if (batches_) upload(parts_, plan_, batches_->next());
        (k + 1 < accumulate_ ? gathering_ : recording_)->replay();
    }
}

// Often enough to report and to be stopped, rarely enough that waiting for the losses costs nothing.
const std::vector<double>& ResidentSteps::take() {
    constexpr double interval = 0.05;
    constexpr int at_once = 16;
    if (step_ == steps_per_epoch_) {
        ++epoch_;
        step_ = 0;
        start_epoch(0);
    }
    const double wanted = seconds_per_step_ > 0 ? interval / seconds_per_step_ : 1;
    const int steps = std::min(int(std::clamp(wanted, 1.0, double(at_once))), steps_per_epoch_ - step_);
    batch_losses_.resize(std::size_t(steps) * accumulate_);
    if (parts_.clock) upload_factors(step_, steps);
    const Stopwatch watch;
    for (int i = 0; i < steps; ++i) replay_step();
    device_losses_.download(batch_losses_.data(), batch_losses_.size(), std::size_t(step_) * accumulate_);
    seconds_per_step_ = watch.seconds() / steps;
    step_ += steps;
    losses_.assign(std::size_t(steps), 0);
    for (std::size_t k = 0; k < batch_losses_.size(); ++k)
        losses_[k / std::size_t(accumulate_)] += batch_losses_[k] / accumulate_;
    return losses_;
}

}  // namespace tvmap
