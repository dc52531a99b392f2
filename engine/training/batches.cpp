#include "engine/training/batches.h"

#include <algorithm>
#include <numeric>
#include <system_error>

#include "engine/data/noise.h"
#include "engine/data/supervision.h"
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "kernels/training/random.h"

namespace tvmap {

// Fisher-Yates, each swap drawn by its own counter.
std::vector<int> shuffled(std::uint64_t seed, std::uint32_t epoch, int count) {
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    for (int i = count - 1; i > 0; --i) {
        const int j = int(uniform(seed, Purpose::shuffle, epoch, 0, std::uint32_t(i)) * float(i + 1));
        std::swap(order[i], order[std::min(j, i)]);
    }
    return order;
}

std::vector<BatchItem> epoch_items(const Config& config, const Dataset& data, int epoch_number) {
    const std::uint32_t epoch = std::uint32_t(epoch_number);
    const bool supervised = config.train.supervision == Supervision::clean;
    std::vector<int> order = shuffled(config.seed, epoch, data.count());
    order.resize(std::size_t(Batches::batches_per_epoch(config, data)) * config.train.batch);
    const int side = Batches::side(config);
    std::vector<BatchItem> items;
    for (const int image : order) {
        const auto draw = [&](Purpose purpose, std::uint32_t index, int count) {
            const int value =
                int(uniform(config.seed, purpose, epoch, std::uint32_t(image), index) * float(count));
            return std::min(value, count - 1);
        };
        items.push_back(
            {.image = std::uint32_t(image),
             .top = draw(Purpose::crop, 0, data.height(image) - side + 1),
             .left = draw(Purpose::crop, 1, data.width(image) - side + 1),
             .mirror = config.train.flip && draw(Purpose::flip, 0, 2) == 1,
             .quarters = config.train.rotate ? draw(Purpose::flip, 1, 4) : 0,
             .scale = noise_deviation(config, data, image, supervised ? epoch : observation_epoch),
             .epoch = epoch});
    }
    return items;
}

std::size_t Batches::floats(const Config& config) {
    const std::size_t planes = Observer(config.solver.observation).weighs() ? 3 : 2;
    return 2 * planes * std::size_t(config.train.batch * config.train.fed_images()) * side(config) *
           side(config);
}

int Batches::steps_per_epoch(const Config& config, const Dataset& data) {
    return int(data.count() / (std::int64_t(config.train.batch) * config.train.accumulate));
}

int Batches::batches_per_epoch(const Config& config, const Dataset& data) {
    return steps_per_epoch(config, data) * config.train.accumulate;
}

void Batches::check(const Config& config, const Dataset& data) {
    if (steps_per_epoch(config, data) > 0) return;
    const bool several = config.train.accumulate > 1;
    fail(config.data.train, ": ", data.count(), " images are fewer than ",
         several ? "the batches of one step" : "one batch", " (train.batch: ", config.train.batch,
         several ? text(", train.accumulate: ", config.train.accumulate) : "", ")");
}

Batches::Batches(const Config& config, const Dataset& data, int epoch, int step)
    : config_(config),
      data_(data),
      observer_(config.solver.observation),
      epoch_(epoch),
      batch_(step * config.train.accumulate) {
    if (epoch < 1 || step < 0 || step >= steps_per_epoch(config, data))
        fail("there is no step ", step, " of epoch ", epoch, " in a training of ",
             steps_per_epoch(config, data), " steps an epoch");
    const std::size_t floats =
        std::size_t(config.train.batch * config.train.fed_images()) * side(config) * side(config);
    for (Batch& batch : batches_) {
        batch.noisy.resize(floats);
        batch.target.resize(floats);
        batch.weights.resize(observer_.weighs() ? floats : 0);
    }
    try {
        thread_ = std::thread([this] { work(); });
    } catch (const std::system_error& error) {
        fail("no thread to prepare batches with (", error.code().message(),
             "): allow more processes (ulimit -u) or memory (ulimit -v)");
    }
}

Batches::~Batches() {
    {
        std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

const Batches::Batch& Batches::next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ready_ > taken_ || failure_; });
    if (ready_ == taken_) std::rethrow_exception(failure_);
    const Batch& batch = batches_[taken_ % 2];
    ++taken_;
    lock.unlock();
    changed_.notify_all();
    return batch;
}

// What the thread throws is thrown by next().
void Batches::work() {
    try {
        set_threads(1);  // the step owns the cores
        prepare_all();
    } catch (...) {
        const std::lock_guard lock(mutex_);
        failure_ = std::current_exception();
    }
    changed_.notify_all();
}

void Batches::prepare_all() {
    for (;;) {
        // The batch handed out last may still be read: with two buffers, the next one is free only when
        // nothing waits.
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stop_ || ready_ == taken_; });
        if (stop_) return;
        Batch& batch = batches_[ready_ % 2];
        lock.unlock();
        prepare(batch);
        lock.lock();
        ++ready_;
        lock.unlock();
        changed_.notify_all();
    }
}

void Batches::prepare(Batch& batch) {
    if (items_epoch_ != epoch_) {
        items_ = epoch_items(config_, data_, epoch_);
        items_epoch_ = epoch_;
    }
    const int length = side(config_);
    const std::int64_t pixels = std::int64_t(length) * length, fed = config_.train.fed_images() * pixels;
    for (int n = 0; n < config_.train.batch; ++n) {
        const BatchItem& item = items_[std::size_t(batch_) * config_.train.batch + n];
        float* target = batch.target.data() + n * fed;
        float* noisy = batch.noisy.data() + n * fed;
        if (config_.train.supervision != Supervision::clean) {
            make_unsupervised(config_, data_, item, length, noisy, target);
            continue;
        }
        data_.copy(int(item.image), item.top, item.left, length, item.mirror != 0, target, item.quarters);
        cpu::add_noise(config_.seed, item.epoch, item.image, pixels, target, item.scale, noisy);
        observer_.observe(config_.seed, item.epoch, item.image, length, length, item.scale, target, noisy,
                          observer_.weighs() ? batch.weights.data() + n * pixels : nullptr);
    }
    if (++batch_ == batches_per_epoch(config_, data_)) {
        batch_ = 0;
        ++epoch_;
    }
}

}  // namespace tvmap
