// The solver's iterates in a safetensors file: x, x_bar and p of N×H×W, q of N×2×H×W.
#pragma once
#include <string>

#include "engine/solver.h"

namespace tvmap {

/// Throws Error for a file that is not whole, and for tensors that are missing, not finite, or not of this
/// size.
SolverState read_solver_state(const std::string& path, int images, int height, int width);

/// Written through write_file: temporary name, synced, renamed.
void write_solver_state(const std::string& path, SolverState state, int images, int height, int width);

}  // namespace tvmap
