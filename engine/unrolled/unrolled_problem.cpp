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
    u.forward = [=](int iterations, const SolverInput& input, float* x, std::uint8_t* masks,
                    const PdhgState* state, bool start_from_state, const PdhgWorkspace& workspace) {
        on->pdhg_forward(problem, iterations, input.b, input.lambda, x, masks, state, start_from_state,
                         workspace);
    };
    u.adjoint = [=](int iterations, const SolverInput&, const std::uint8_t* masks, const float* d_x,
                    const SolverDerivatives& derivatives, Write write, const PdhgWorkspace& workspace,
                    const PdhgAdjoint& how) {
        on->pdhg_adjoint(problem, iterations, masks, d_x, derivatives.d_lambda, derivatives.d_b, write,
                         workspace, how);
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
    u.forward = [=](int iterations, const SolverInput& input, float* x, std::uint8_t* masks,
                    const PdhgState* state, bool start_from_state, const PdhgWorkspace& workspace) {
        on->solver_forward(problem, iterations, input, x, masks, state, start_from_state, workspace);
    };
    u.adjoint = [=](int iterations, const SolverInput& input, const std::uint8_t* masks, const float* d_x,
                    const SolverDerivatives& derivatives, Write write, const PdhgWorkspace& workspace,
                    const PdhgAdjoint& how) {
        on->solver_adjoint(problem, iterations, input.gram, masks, d_x, derivatives, write, workspace, how);
    };
    return u;
}

}  // namespace tvmap
