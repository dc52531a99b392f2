// The solver's problem that follows from an experiment's settings, and the steps that it may take.
#pragma once
#include <string>

#include "engine/config/config.h"
#include "kernels/solver/pdhg.h"

namespace tvmap {

/// L of learned steps for an operator of this norm: the configured norm, but at least the operator's.
double step_norm(const SolverConfig& solver, double operator_norm);

/// Throws Error for steps with which the iteration may diverge on an operator of this norm; its name and `where` are
/// for the message.
void check_steps(const SolverConfig& solver, double norm, const std::string& operator_name,
                 const KeyPlace& where);

/// The solver's problem and steps for N images of H×W: τ and σ resolved from norm, everything checked (στL² ≤
/// 1 with the exact norm of this size). `where` opens messages about a key; without one the images' size
/// does.
PdhgProblem pdhg_problem(const SolverConfig& solver, const MapConfig& map, int images, int height, int width,
                         KeyPlace where = {});

}  // namespace tvmap
