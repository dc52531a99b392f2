// What a solver is to the gradient modes (engine/unrolled/unrolled_solver.h): the sizes of a batch, and its two
// directions on a backend, which stays where it is. Contracts are those of kernels/solver/pdhg.h and
// kernels/family/family.h.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

#include "kernels/backend.h"

namespace tvmap {

struct UnrolledProblem {
    int solves = 1, height = 0, width = 0;
    int fields = 1, components = 2;  ///< planes of x and of q in a solve's state
    int maps = 1;                    ///< of one solve
    bool scalar_map = false;         ///< whether a map is one number

    std::function<std::size_t()> workspace_bytes;
    std::function<std::size_t(int iterations)> mask_bytes;
    /// Of SolverInput, pdhg.h takes z for b, and lambda.
    std::function<void(int iterations, const SolverInput& input, const PdhgOutput& output,
                       const PdhgWorkspace& workspace)>
        forward;
    std::function<void(int iterations, const SolverInput& input, const PdhgAdjoint& adjoint,
                       const SolverDerivatives& derivatives, const PdhgWorkspace& workspace)>
        adjoint;

    std::int64_t map_size() const { return maps * (scalar_map ? 1 : std::int64_t(height) * width); }
};

UnrolledProblem unrolled_problem(Backend& backend, const PdhgProblem& problem);
UnrolledProblem unrolled_problem(Backend& backend, const SolverProblem& problem);

}  // namespace tvmap
