// What the solvers on whole arrays share (engine/solver/solver.cpp, engine/solver/family_solver.cpp).
#pragma once
#include <vector>

#include "engine/solver/solver.h"
#include "engine/unrolled/unrolled_solver.h"

namespace tvmap {

/// `count` copies, one after the other: one map for every solve.
std::vector<float> repeated(const std::vector<float>& values, int count);

/// Throws Error unless there is a finite clean image of H×W for each of `images`.
void check_target(int images, int height, int width, const ImageStack& target);

/// Forward, mean squared error and adjoint, `repeat` times. input lies in the backend's memory; d_b and d_start are
/// written there too, where they are not null. map_size: of the one map that all images share; what the result has of
/// d_lambda is the sum over them. d_z is left to the caller. Throws Error for fewer runs than one.
SolverGradient measured_gradient(Backend& backend, UnrolledSolver& unrolled, const SolverInput& input,
                                 std::size_t map_size, const ImageStack& target, int repeat, float* d_b,
                                 float* d_start);

}  // namespace tvmap
