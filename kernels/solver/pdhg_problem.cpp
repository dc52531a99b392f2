// The solver's problem, whoever solves it: operator norm, checks, masks.
#include "kernels/solver/pdhg_problem.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"
#include "kernels/base/sizes.h"

namespace tvmap {

double pdhg_operator_norm(int height, int width, Boundary boundary) {
    double squared = 1.0;
    for (const int n : {height, width}) {
        const int half = n / 2;
        const double angle = boundary == Boundary::periodic ? double(half) / n : double(n - 1) / (2.0 * n);
        const double sine = std::sin(std::numbers::pi * angle);
        squared += 4.0 * sine * sine;
    }
    return std::sqrt(squared);
}

void check_pdhg(const char* where, const PdhgProblem& problem, int iterations) {
    if (problem.solves < 1 || problem.height < 1 || problem.width < 1 || problem.solves_per_image < 1 ||
        iterations < 0) {
        fail(where, ": impossible problem: ", problem.solves, " solves (", problem.solves_per_image,
             " per image) of ", problem.height, "x", problem.width, ", ", iterations,
             " iterations; sizes must be at least 1");
    }
    checked_product("the solver's images, bytes", problem.solves, problem.height, problem.width, 64);
    const double norm = pdhg_operator_norm(problem.height, problem.width, problem.boundary);
    if (!(problem.tau > 0) || !(problem.sigma > 0) || !(problem.theta >= 0) ||
        double(problem.tau) * problem.sigma * norm * norm > 1 + 1e-5) {  // 1e-5: τ and σ are rounded to float
        fail(where, ": steps tau ", problem.tau, " and sigma ", problem.sigma, " (theta ", problem.theta,
             ") do not converge on ", problem.height, "x", problem.width,
             "; keep both positive and tau*sigma at most ", 1 / (norm * norm));
    }
}

void check_pdhg_workspace(const char* where, const PdhgWorkspace& workspace, std::size_t bytes) {
    if (workspace.memory == nullptr || workspace.bytes < bytes ||
        reinterpret_cast<std::uintptr_t>(workspace.memory) % 64 != 0) {
        fail(where, ": a workspace of ", workspace.memory == nullptr ? 0 : workspace.bytes, " bytes at ",
             workspace.memory, " where ", bytes,
             " on a 64-byte boundary are needed; make one of pdhg_workspace_bytes for this problem");
    }
}

namespace cpu {

std::size_t pdhg_mask_bytes(const PdhgProblem& problem, int iterations) {
    const std::int64_t bytes = checked_product("masks of the solver, bytes", problem.solves, iterations,
                                               problem.height, pdhg_mask_row_bytes(problem.width));
    return aligned(std::size_t(bytes));
}

}  // namespace cpu
}  // namespace tvmap
