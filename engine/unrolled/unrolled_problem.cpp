#include "engine/unrolled/unrolled_problem.h"

namespace tvmap {

UnrolledProblem unrolled_problem(Backend& backend, const PdhgProblem& problem) {
    UnrolledProblem u;
    u.solves = problem.solves;
    u.height = problem.height;
    u.width = problem.width;
    u.maps = problem.map == MapKind::separate ? 2 : 1;
    u.scalar_map = problem.map == MapKind::scalar;
    Backend* const on = &backend;
    u.workspace_bytes = [=] { return on->pdhg_workspace_bytes(problem); };
    u.mask_bytes = [=](int iterations) { return on->pdhg_mask_bytes(problem, iterations); };
    u.forward = [=](int iterations, const SolverInput& input, const PdhgOutput& output,
                    const PdhgWorkspace& workspace) {
        on->pdhg_forward(problem, iterations, {.z = input.b, .lambda = input.lambda}, output, workspace);
    };
    u.adjoint = [=](int iterations, const SolverInput&, const PdhgAdjoint& adjoint,
                    const SolverDerivatives& d, const PdhgWorkspace& workspace) {
        on->pdhg_adjoint(problem, iterations, adjoint,
                         {.d_lambda = d.d_lambda, .d_z = d.d_b, .write = d.write}, workspace);
    };
    return u;
}

UnrolledProblem unrolled_problem(Backend& backend, const SolverProblem& problem) {
    UnrolledProblem u;
    u.solves = problem.solves;
    u.height = problem.height;
    u.width = problem.width;
    u.fields = problem.fields();
    u.components = problem.components();
    u.maps = problem.maps();
    u.scalar_map = problem.map == MapKind::scalar;
    Backend* const on = &backend;
    u.workspace_bytes = [=] { return solver_workspace_bytes(problem); };
    u.mask_bytes = [=](int iterations) { return solver_mask_bytes(problem, iterations); };
    u.forward = [=](int iterations, const SolverInput& input, const PdhgOutput& output,
                    const PdhgWorkspace& workspace) {
        on->solver_forward(problem, iterations, input, output, workspace);
    };
    u.adjoint = [=](int iterations, const SolverInput& input, const PdhgAdjoint& adjoint,
                    const SolverDerivatives& derivatives, const PdhgWorkspace& workspace) {
        on->solver_adjoint(problem, iterations, input.gram, adjoint, derivatives, workspace);
    };
    return u;
}

}  // namespace tvmap
