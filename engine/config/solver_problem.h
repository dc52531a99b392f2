// The solver's problem that follows from an experiment's settings, and the steps that it may take.
#pragma once
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "kernels/family/family.h"

namespace tvmap {

/// Whether the problem is the fused solver's (kernels/solver/pdhg.h); else it is the family's.
inline bool is_plain(const SolverConfig& solver) {
    return solver.regulariser == Regulariser::tv && solver.observation.data() == DataTerm::identity;
}

/// The kernel of solver.operator: blur, blur_size×blur_size: a Gaussian whose values add up to 1; else empty.
std::vector<float> blur_kernel(const ObservationConfig& observation);

/// How many maps a problem has: 1 or 2 of tv, 1 or 4 of tv8, 2 or 5 of tgv.
int map_count(const SolverConfig& solver, const MapConfig& map);
/// The same for a whole experiment: 0 where the network makes an image instead (network.output).
int map_count(const Config& config);

/// What the learned restoration is called: by its map or, where network.output is image, by the network.
inline const char* method_name(const Config& config) {
    return config.network.predicts_image ? "network" : "map Λ";
}

/// Whether Λ is set against squared differences that all weigh 1, so that it has the unit of the noise.
inline bool weighs_squares(const ObservationConfig& observation) {
    return observation.sight != Sight::impulses && observation.sight != Sight::poisson;
}

/// L of learned steps for an operator of this norm: the configured norm, but at least the operator's.
double step_norm(const SolverConfig& solver, double operator_norm);

/// Throws Error for steps with which the iteration may diverge on an operator of this norm; its name and `where` are
/// for the message. plain: tv of an image as it is, whose kernels are for steps of στL² ≤ 1.
void check_steps(const SolverConfig& solver, bool plain, double norm, const std::string& operator_name,
                 const KeyPlace& where);

/// The solver's problem and steps for N images of H×W: τ and σ resolved from norm, everything checked (στL² ≤
/// 1 with the exact norm of this size). `where` opens messages about a key; without one the images' size
/// does.
PdhgProblem pdhg_problem(const SolverConfig& solver, const MapConfig& map, int images, int height, int width,
                         KeyPlace where = {});

/// The same of the family, for any regulariser and operator. Steps may exceed στL² = 1, up to solver_step_bound(); see
/// solver_step_warning. Of masks the norm is taken for 1, which it is where any pixel is known.
SolverProblem family_problem(const SolverConfig& solver, const MapConfig& map, int images, int height,
                             int width, KeyPlace where = {});

/// The problem, whose sizes, map and data term are given, with the regulariser, boundary and steps of these settings.
SolverProblem with_settings(const SolverConfig& solver, SolverProblem problem, KeyPlace where = {});

}  // namespace tvmap
