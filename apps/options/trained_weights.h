// Where weights are used, which need not be where they were trained.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "apps/program/command.h"
#include "engine/config/config.h"
#include "kernels/backend.h"

namespace tvmap {

/// The backend for weights that are used under this configuration, with the values of `set` in it. That of --device
/// or of these values where they name one; else a GPU that the weights were trained on may be missing, and the CPU
/// takes its place, in fp32 where it cannot compute in the precision of their training. `config` says afterwards what
/// is used.
std::unique_ptr<Backend> backend_for_weights(Config& config, const CommonOptions& common,
                                             const std::vector<std::string>& set);

}  // namespace tvmap
