// The gradient for the solver's step sizes, step by step.
#include "kernels/pdhg.h"

#include "kernels/error.h"

namespace tvmap::cuda {

std::size_t pdhg_step_gradients_workspace_bytes(const PdhgProblem& problem) {
    return (std::size_t(problem.solves) * std::size_t(problem.height) * 3 * sizeof(double) + 63) / 64 * 64;
}

void pdhg_step_gradients(gpu::Stream, const PdhgProblem&, const float*, const PdhgState&, const PdhgState&,
                         const PdhgAdjointState&, const PdhgAdjointState&, float, double*, void*) {
    fail("pdhg_step_gradients: to come");
}

}  // namespace tvmap::cuda
