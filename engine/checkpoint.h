// What a training run has reached, in one safetensors file: the weights under the reference's PyTorch names,
// Adam's moments, and counters and configuration as metadata.
#pragma once
#include <cstdint>
#include <string>

#include "engine/config.h"
#include "engine/parameters.h"

namespace tvmap {

struct Progress {
    int epoch = 0;           ///< finished epochs
    int step = 0;            ///< finished steps of the epoch after them
    std::int64_t steps = 0;  ///< optimiser steps in all
    double loss_sum = 0;     ///< of the unfinished epoch's steps
    double seconds = 0;      ///< spent on the unfinished epoch
    double best_psnr = -1e300;
    int best_epoch = 0;
    std::string data;  ///< a fingerprint of the training images, which must not change
};

/// Written to a temporary name, synced, renamed.
void write_checkpoint(const std::string& path, const Parameters& parameters, const Config& config,
                      const Progress& progress);

/// Restores weights and, with `moments`, the optimiser's; returns the counters. Throws Error and changes
/// nothing if the file is not whole or belongs to another network.
Progress read_checkpoint(const std::string& path, Parameters& parameters, bool moments);

/// The configuration inside a checkpoint. For weights that carry none (saved by PyTorch, say), the defaults,
/// with the network's channels and outputs read off the weights' shapes.
Config checkpoint_config(const std::string& path);

}  // namespace tvmap
