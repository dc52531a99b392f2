// What a training run has reached, in one safetensors file: the weights (with train.ema their average) under the
// reference's PyTorch names, what else training goes on from (see Parameters::stored), and counters and configuration as
// metadata.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/agreement.h"
#include "engine/config/config.h"
#include "engine/graph/parameters.h"

namespace tvmap {

struct Progress {
    int epoch = 0;              ///< finished epochs
    int step = 0;               ///< finished steps of the epoch after them
    std::int64_t steps = 0;     ///< optimiser steps in all
    double loss_sum = 0;        ///< of the unfinished epoch's steps
    double seconds = 0;         ///< spent on the unfinished epoch
    double best_psnr = -1e300;  ///< of the best epoch, where its PSNR is known
    double best_sure = 1e300;   ///< and its SURE, which then decides, in trainings without clean images
    bool earlier_sure =
        false;  ///< read of an earlier program's run, whose SURE was another and is not known here
    int best_epoch = 0;
    std::string train_images, val_images;  ///< Dataset::digest(), which must not change
    std::string changes;                   ///< settings that were changed on the way, one a line
    double time = 0;  ///< seconds that a run by time (train.time) took so far, at its end train.time at least
    int unimproved = 0;  ///< with train.stop_after: validations in a row that were no better
};

/// Written to a temporary name, synced, renamed. Throws Error and writes nothing where a weight or a moment is not
/// finite. `stored`: see Parameters.
void write_checkpoint(const std::string& path, const std::map<std::string, TensorView>& stored,
                      const Config& config, const Progress& progress);
void write_checkpoint(const std::string& path, const Parameters& parameters, const Config& config,
                      const Progress& progress);

/// Restores weights and moments, for a run that goes on; returns the counters, each within what it may be. Throws
/// Error and changes nothing if the file is not whole or belongs to another network.
Progress read_checkpoint(const std::string& path, Parameters& parameters);

/// The counters alone. Throws Error.
Progress read_progress(const std::string& path);

/// Whether a file has moments, without which no run goes on from it. Throws Error.
bool has_moments(const std::string& path);

/// What is to be said of weights that are used.
struct Use {
    bool configured = true;               ///< whether their file holds the configuration of their training
    std::vector<Difference> differences;  ///< from it to the one in use, none of which the weights depend on

    /// One line without its end, "" where there is nothing to say.
    std::string line() const;
};

/// Whether weights may be used under `config` (see check_use in engine/config/agreement.h); throws Error where not.
/// What the file says of its sizes is true afterwards: it is checked against its tensors.
Use check_use(const std::string& path, const Config& config);

/// The same, and restores the weights. Throws Error and changes nothing if the file is not whole or belongs to
/// another network.
Use read_weights(const std::string& path, const Config& config, Parameters& parameters);

/// The configuration inside a checkpoint; none in weights alone (saved by PyTorch, say). Throws Error where its sizes
/// are not those of the tensors.
std::optional<Config> stored_config(const std::string& path);

/// For how many optimiser steps weights were trained; none where the file does not say. Throws Error.
std::optional<std::int64_t> stored_steps(const std::string& path);

/// The same; for weights alone, the defaults with the network's channels and outputs read off the weights' shapes.
/// `overrides` take the place of what it says, as in read_config.
Config checkpoint_config(const std::string& path, const std::vector<std::string>& overrides = {});

}  // namespace tvmap
