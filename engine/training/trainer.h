// A training run: a folder that holds its configuration, the algorithms in use, metrics, log and checkpoints;
// it can be left at any moment and resumed to the same bits.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/model/checkpoint.h"
#include "engine/training/memory_limit.h"
#include "engine/training/memory_report.h"

namespace tvmap {

/// What `tvmap train --plan` prints.
struct PlanReport {
    std::int64_t parameters = 0;
    MemoryReport memory;
    int untimed = 0;        ///< convolutions whose algorithms were never timed: memory is a bound then
    std::size_t least = 0;  ///< bytes: what memory.predicted() may come to at least, once they are
    std::string table;      ///< every tensor with bytes and lifetime, then the sums
    std::optional<LargestBatch> largest;  ///< with train.memory_limit
};

/// What the trainer tells while it runs.
struct TrainReport {
    int epoch = 0, epochs = 0;  ///< counted from 1; epochs: 0 in a run by time (train.time)
    int step = 0, steps_per_epoch = 0;
    double loss = 0;                            ///< mean over the epoch so far
    double steps_per_second = 0;                ///< of this process
    double seconds_left = 0, steps_left = 0;    ///< as predicted
    bool validated = false;                     ///< the three below were measured just now
    double psnr = 0, ssim = 0, noisy_psnr = 0;  ///< means over the images that count; see belongs_in_means
    /// The mean estimate of the mean squared error, measured just now; in trainings without clean images, where it decides
    /// what is best.
    std::optional<double> sure;
    std::string left_out;  ///< one line on validation images that do not, or ""
    bool best = false;
};

/// A training run in its folder. For one thread at a time; another may set what `stop` refers to.
class Trainer {
  public:
    /// Reads the data, plans, and opens the run folder, which no other trainer may work in as long as this one
    /// lives. Without `resume` the folder must not hold a run yet; with it, the run goes on from its last
    /// checkpoint (the best one where that is of a later step), or from the start if there is none. What a run cannot
    /// change is in engine/config/agreement.h; `change` names the settings that it changes from here on, of those
    /// that must be named. Throws Error; nothing is changed then. Without a backend, the configured one is opened.
    Trainer(const Config& config, const std::string& run_folder, bool resume,
            std::unique_ptr<Backend> backend = nullptr, const std::vector<std::string>& change = {});
    ~Trainer();

    /// Trains until the configured epochs are done, the time is up (train.time) or validation gets no better
    /// (train.stop_after): true; or `stop` is set (false: the state is saved and can
    /// be resumed). Throws Error when losses or weights are no longer finite: the checkpoints stay as they were; and
    /// when a checkpoint cannot be written, at the end of an epoch after that at the latest.
    bool run(const std::function<void(const TrainReport&)>& report, const std::atomic<bool>& stop);

    const Progress& progress() const;
    /// Whether the run ended since validation got no better.
    bool stopped_early() const;
    const MemoryReport& memory() const;
    /// What was found in the run folder and done about it, where the user should know: a line each, also in
    /// log.txt.
    const std::vector<std::string>& notes() const;
    /// Device and precision, for banners.
    std::string device() const;

    /// The plan of a configuration, without data or run folder. Nothing is timed or allocated but what oneDNN
    /// needs for its primitives.
    static PlanReport plan(const Config& config);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace tvmap
