// A solver's iterates as a start: what can be one, made feasible, and in a safetensors file as x, x_bar and p of
// N×H×W, q of N×2×H×W, and extrapolation, a single number. A restoration's lie in a file of the same form: its fields u
// and ū as x and x_bar (tgv: N×3×H×W), r as p, and q of N×components×H×W; the file's metadata say the regulariser, the
// operator and the boundary. Without them it is a state of tv and identity.
#pragma once
#include <string>

#include "engine/solver/solver.h"
#include "kernels/family/family.h"

namespace tvmap {

/// Throws Error for iterates of another regulariser, operator or size, not finite, or such that no run can have left: x̄
/// must be what x, p and q make it, up to rounding. `where` opens the message. What the operator's array is (a mask, a
/// kernel) is no part of a state: with another one it is a start like that of another image.
void check_solver_state(const std::string& where, const SolverProblem& problem, const SolverState& state);
/// Of tv and identity.
void check_solver_state(const std::string& where, const SolverState& state, int images, int height,
                        int width);

/// Brings q within the bounds of this problem: |q_c| ≤ Λ_c, and 0 where a Neumann boundary has no difference; for
/// DataTerm::huber r, too, |r| ≤ 1. Iterates
/// that this changes are a new start, x̄ = x; so are those of tgv at another boundary, whose K* is another.
void make_feasible(const SolverProblem& problem, const Map& lambda, SolverState& state);
/// Of tv and identity.
void make_feasible(const PdhgProblem& problem, const Map& lambda, SolverState& state);

/// Throws Error for a file that is not whole, for tensors that are missing, and what check_solver_state refuses.
SolverState read_solver_state(const std::string& path, const SolverProblem& problem);
/// Of tv and identity.
SolverState read_solver_state(const std::string& path, int images, int height, int width);

/// Written through write_file: temporary name, synced, renamed.
void write_solver_state(const std::string& path, const SolverProblem& problem, SolverState state);
/// Of tv and identity.
void write_solver_state(const std::string& path, SolverState state, int images, int height, int width);

}  // namespace tvmap
