// How far an iterate of the solver is from a saddle point: the residuals of Goldstein, Li, Yuan, Esser and
// Baraniuk (2013, "Adaptive primal-dual hybrid gradient methods"), written for the order of kernels/solver/pdhg.h,
// where the duals (p, q) go first and x follows. A saddle point of ⟨Kx, y⟩ − F*(y), K = [I, ∇], y = (p, q),
// has 0 = Kᵀy and 0 ∈ ∂F*(y) − Kx. The step from k to k+1 leaves in their places
//     primal    Kᵀy₊ = (x − x₊)/τ
//     dual      (y − y₊)/σ + K(x̄ − x₊) ∈ ∂F*(y₊) − Kx₊
// of which the 2-norms are taken; both go to zero.
#pragma once
#include "kernels/solver/pdhg.h"

namespace tvmap {

struct PdhgResiduals {
    double primal = 0, dual = 0;
};

/// Of one solve, in double: the iterates before and after one step, H×W each, q 2×H×W.
PdhgResiduals pdhg_residuals(const PdhgProblem& problem, const PdhgState& before, const PdhgState& after);

}  // namespace tvmap
