#include "engine/training/training_steps.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "engine/files/stopwatch.h"
#include "kernels/base/threads.h"

namespace tvmap {
namespace {

std::int64_t steps_of_run(const TrainingParts& parts) {
    return std::int64_t(parts.config.train.epochs) * Batches::steps_per_epoch(parts.config, parts.data);
}

/// Of optimiser step `step`, from 1.
Adam adam_of(const OptimiserConfig& o, std::int64_t step, std::int64_t total) {
    return {learning_rate(o, step, total), o.beta1, o.beta2, o.eps, step};
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

double learning_rate(const OptimiserConfig& optimiser, std::int64_t step, std::int64_t total) {
    if (step <= optimiser.warmup) return optimiser.rate * double(step) / optimiser.warmup;
    if (!optimiser.cosine) return optimiser.rate;
    const double done =
        double(step - optimiser.warmup) / double(std::max<std::int64_t>(1, total - optimiser.warmup));
    return optimiser.rate * 0.5 * (1.0 + std::cos(M_PI * std::min(1.0, done)));
}

HostSteps::HostSteps(const TrainingParts& parts, int epoch, int step)
    : parts_(parts),
      batches_(parts.config, parts.data, epoch, step),
      steps_(std::int64_t(epoch - 1) * Batches::steps_per_epoch(parts.config, parts.data) + step),
      total_(steps_of_run(parts)),
      loss_(1),
      team_(parts.plans.size() > 1 ? std::make_unique<Team>(std::min(int(parts.plans.size()), thread_count()))
                                   : nullptr) {}

const std::vector<double>& HostSteps::take() {
    const Batches::Batch& batch = batches_.next();
    const Adam adam = adam_of(parts_.config.optimiser, ++steps_, total_);
    const int parts = int(parts_.plans.size());
    std::atomic<int> next{0};
    const auto work = [&](int) {
        for (int part; (part = next++) < parts;) {
            Plan& plan = *parts_.plans[part];
            upload(parts_, plan, batch, part);
            plan.forward();
            plan.backward();
        }
    };
    if (team_) {
        team_->run(work);
        parts_.parameters.adam_step(adam, *team_);
    } else {
        work(0);
        parts_.parameters.adam_step(adam);
    }
    // The batch's loss is the mean of its images', and so of its equal parts'.
    loss_[0] = 0;
    for (const Plan* plan : parts_.plans) loss_[0] += plan->loss() / parts;
    return loss_;
}

std::size_t ResidentSteps::image_bytes(const Config& config, int images) {
    return sizeof(float) * std::size_t(images) * config.data.size * config.data.size;
}

std::size_t ResidentSteps::schedule_bytes(const Config& config, int images) {
    const std::size_t steps = images / config.train.batch;
    return sizeof(std::uint32_t) +
           steps * (sizeof(AdamStep) + sizeof(double) + config.train.batch * sizeof(BatchItem));
}

ResidentSteps::ResidentSteps(const TrainingParts& parts, int epoch, int step, bool resident)
    : parts_(parts),
      plan_(*parts.plans.front()),
      steps_per_epoch_(Batches::steps_per_epoch(parts.config, parts.data)),
      epoch_(epoch),
      step_(step),
      images_(parts.backend, resident ? image_bytes(parts.config, parts.data.count()) / sizeof(float) : 0),
      counter_(parts.backend, 1),
      adam_(parts.backend, steps_per_epoch_),
      items_(parts.backend, std::size_t(steps_per_epoch_) * parts.config.train.batch),
      device_losses_(parts.backend, steps_per_epoch_),
      schedule_{steps_per_epoch_, parts.config.train.batch, counter_.data(), adam_.data(),
                items_.data(),    device_losses_.data()} {
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
    recording_ = backend.record([this, resident, images = TrainingImages{images_.data(), count, size}] {
        if (resident)
            parts_.backend.make_batch(parts_.config.seed, images, schedule_, plan_.view(parts_.target),
                                      plan_.view(parts_.noisy));
        plan_.forward();
        plan_.backward();
        parts_.parameters.adam_step(schedule_);
        parts_.backend.finish_step(schedule_, plan_.loss_in_memory());
    });
    start_epoch(step);
}

/// Uploads the schedule of the epoch under way, to go on at `step`.
void ResidentSteps::start_epoch(int step) {
    const std::int64_t before = std::int64_t(epoch_ - 1) * steps_per_epoch_, total = steps_of_run(parts_);
    std::vector<AdamStep> adam;
    for (int s = 1; s <= steps_per_epoch_; ++s)
        adam.emplace_back(adam_of(parts_.config.optimiser, before + s, total));
    const std::vector<BatchItem> items = epoch_items(parts_.config, parts_.data, epoch_);
    const std::uint32_t next = std::uint32_t(step);
    adam_.upload(adam.data(), adam.size());
    items_.upload(items.data(), items.size());
    counter_.upload(&next, 1);
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
    losses_.resize(steps);
    const Stopwatch watch;
    for (int i = 0; i < steps; ++i) {
        if (batches_) upload(parts_, plan_, batches_->next());
        recording_->replay();
    }
    device_losses_.download(losses_.data(), steps, step_);
    seconds_per_step_ = watch.seconds() / steps;
    step_ += steps;
    return losses_;
}

}  // namespace tvmap
