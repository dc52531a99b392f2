// Training batches as a pure function of (configuration, epoch, step), prepared one ahead in a thread of
// their own.
#pragma once
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/config/config.h"
#include "engine/data/dataset.h"
#include "engine/data/observation.h"
#include "kernels/training/training_step.h"

namespace tvmap {

/// The order in which an epoch visits `count` images.
std::vector<int> shuffled(std::uint64_t seed, std::uint32_t epoch, int count);

/// What the batches of an epoch (from 1) are made of, batches × train.batch, a pure function of its arguments.
std::vector<BatchItem> epoch_items(const Config& config, const Dataset& data, int epoch);

/// Prepares batches by a thread of its own; its user is one thread.
class Batches {
  public:
    struct Batch {
        /// N×side×side; with train.supervision, what make_unsupervised makes, train.fed_images() each
        std::vector<float> noisy, target;
        std::vector<float> weights;  ///< the same, where the data term weighs; else empty
    };

    /// Starts preparing the first batch of (epoch, step); epochs count from 1, steps of an epoch from 0: throws Error for
    /// those that there are not. The dataset must outlive this.
    Batches(const Config& config, const Dataset& data, int epoch, int step);
    ~Batches();

    /// Floats of the two batches in memory.
    static std::size_t floats(const Config& config);
    /// Optimiser steps of an epoch, each of train.accumulate batches: the images that do not fill a last step's sit this
    /// epoch out.
    static int steps_per_epoch(const Config& config, const Dataset& data);
    static int batches_per_epoch(const Config& config, const Dataset& data);
    /// Throws Error where an epoch would have no step.
    static void check(const Config& config, const Dataset& data);
    static int side(const Config& config) {
        return config.train.crop > 0 ? config.train.crop : config.data.size;
    }

    /// Waits for the next batch, and starts on the one after it, in the place of what it returned before. Throws what
    /// went wrong in preparing it.
    const Batch& next();

  private:
    void work();
    void prepare_all();
    void prepare(Batch& batch);

    const Config& config_;
    const Dataset& data_;
    const Observer observer_;
    int epoch_, batch_;
    std::vector<BatchItem> items_;
    int items_epoch_ = 0;
    Batch batches_[2];
    int ready_ = 0, taken_ = 0;  // how many were prepared, and handed out
    bool stop_ = false;
    std::exception_ptr failure_;  // that ended the thread
    std::mutex mutex_;
    std::condition_variable changed_;
    std::thread thread_;
};

}  // namespace tvmap
