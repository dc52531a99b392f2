// The solver's iterates as a start: what can be one, made feasible, and in a safetensors file as x, x_bar and p of
// N×H×W, q of N×2×H×W, and extrapolation, a single number.
#pragma once
#include <string>

#include "engine/solver/solver.h"

namespace tvmap {

/// Throws Error for iterates that are not of this size, not finite, or such that no run can have left: x̄ must be what
/// x, p and q make it, up to rounding. `where` opens the message.
void check_solver_state(const std::string& where, const SolverState& state, int images, int height,
                        int width);

/// Brings q within the bounds of this problem: |q| ≤ Λ, and 0 where a Neumann boundary has no difference. Iterates
/// that this changes are a new start, x̄ = x.
void make_feasible(const PdhgProblem& problem, const Regularisation& lambda, SolverState& state);

/// Throws Error for a file that is not whole, for tensors that are missing, and what check_solver_state refuses.
SolverState read_solver_state(const std::string& path, int images, int height, int width);

/// Written through write_file: temporary name, synced, renamed.
void write_solver_state(const std::string& path, SolverState state, int images, int height, int width);

}  // namespace tvmap
