#include "engine/batches.h"

#include <algorithm>
#include <numeric>

#include "kernels/random.h"
#include "kernels/threads.h"

namespace tvmap {

float noise_level(const Range& sigma, std::uint64_t seed, std::uint32_t epoch, int image) {
    if (sigma.fixed()) return float(sigma.from);
    const float u = uniform(seed, Purpose::noise_level, epoch, std::uint32_t(image), 0);
    return float(sigma.from + (sigma.to - sigma.from) * u);
}

float make_noisy(const NoiseConfig& noise, const Range& range, std::uint64_t seed, std::uint32_t epoch,
                 const Dataset& data, int image, std::int64_t count, const float* clean, float* noisy) {
    const float sigma = noise_level(range, seed, epoch, image);
    const float scale = noise.relative_to_image_std ? float(sigma * data.deviation(image)) : sigma;
    cpu::add_noise(seed, epoch, std::uint32_t(image), count, clean, scale, noisy);
    return sigma;
}

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

int Batches::steps_per_epoch(const Config& config, const Dataset& data) {
    return data.count() / config.train.batch;
}

Batches::Batches(const Config& config, const Dataset& data, int epoch, int step)
    : config_(config), data_(data), epoch_(epoch), step_(step) {
    const std::size_t floats = std::size_t(config.train.batch) * side(config) * side(config);
    for (Batch& batch : batches_) {
        batch.noisy.resize(floats);
        batch.target.resize(floats);
    }
    thread_ = std::thread([this] { work(); });
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
    changed_.wait(lock, [this] { return ready_ > taken_; });
    const Batch& batch = batches_[taken_ % 2];
    ++taken_;
    lock.unlock();
    changed_.notify_all();
    return batch;
}

void Batches::work() {
    set_threads(1);  // the step owns the cores
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
    if (order_epoch_ != epoch_) {
        order_ = shuffled(config_.seed, std::uint32_t(epoch_), data_.count());
        order_epoch_ = epoch_;
    }
    const int length = side(config_);
    const std::int64_t pixels = std::int64_t(length) * length;
    const std::uint32_t epoch = std::uint32_t(epoch_);
    for (int n = 0; n < config_.train.batch; ++n) {
        const int image = order_[step_ * config_.train.batch + n];
        auto draw = [&](Purpose purpose, std::uint32_t index, int count) {
            const int value =
                int(uniform(config_.seed, purpose, epoch, std::uint32_t(image), index) * float(count));
            return std::min(value, count - 1);
        };
        const int room = data_.size() - length + 1;
        const int top = draw(Purpose::crop, 0, room), left = draw(Purpose::crop, 1, room);
        const bool mirror = config_.train.flip && draw(Purpose::flip, 0, 2) == 1;
        float* target = batch.target.data() + n * pixels;
        float* noisy = batch.noisy.data() + n * pixels;
        data_.copy(image, top, left, length, mirror, target);
        make_noisy(config_.noise, config_.noise.sigma, config_.seed, epoch, data_, image, pixels, target,
                   noisy);
    }
    if (++step_ == steps_per_epoch(config_, data_)) {
        step_ = 0;
        ++epoch_;
    }
}

}  // namespace tvmap
