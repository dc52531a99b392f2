// The gradient for the step sizes τ, σ, θ of one step of the solver (kernels/solver/pdhg.h).
//
// With the iterates of step k unmarked and those that it reaches marked by +, and X, X̄, P, Q the gradients
// for x, x̄, p, q: since p₊ = (p + σ(x̄ − z))/(1 + σ), the unclipped q₊ = q + σ∇x̄, x₊ = x − τ(p₊ + ∇ᵀq₊) and
// x̄₊ = x₊ + θ(x₊ − x), and with g = X₊ + (1+θ)X̄₊ for x₊, P for p₊/(1+σ) and Q for q₊ where it is not clipped,
//     ∂τ = −⟨g, p₊ + ∇ᵀq₊⟩     ∂σ = ⟨P, x̄ − z − p₊⟩ + ⟨Q, ∇x̄⟩     ∂θ = ⟨X̄₊, x₊ − x⟩ = −τ⟨X̄₊, p₊ + ∇ᵀq₊⟩
// (∂p₊/∂σ = (x̄ − z − p₊)/(1+σ)). In the adjoint's iterates (kernels/solver/pdhg_sweep.cpp) before its step k, Y₊ …,
// and after it, Y …: g = Ȳ₊, P = −P̃, Q = −Q̃, and X̄₊ = σ₊(P₊ + ∇ᵀQ₊) = −σ₊(P̃₊ + ∇ᵀQ̃₊) with σ₊ of step k+1,
// which holds for θ = 0 too. (After the last step P̃ = Q̃ = 0.) So
//     ∂τ = −Σ Ȳ₊·r     ∂σ = −Σ P̃·(x̄ − z − p₊) + Q̃·∇x̄     ∂θ = τσ₊ Σ ρ₊·r      r = p₊ + ∇ᵀq₊, ρ₊ likewise
//
// Everything is in double, in an order that depends on sizes alone: along a row and then over the rows, in 32
// sums that take turns, folded in halves.
#include <algorithm>

#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"
#include "kernels/solver/pdhg.h"
#include "kernels/solver/pdhg_problem.h"
#include "kernels/threads/parallel.h"

namespace tvmap::cpu {
namespace {

// A sum of values 0, 1, 2, … by as many lanes as a warp has.
class LaneSum {
  public:
    void add(std::int64_t i, double value) { lanes_[i % count] += value; }
    double fold() {
        for (int half = count / 2; half > 0; half /= 2) {
            for (int lane = 0; lane < half; ++lane) lanes_[lane] += lanes_[lane + half];
        }
        return lanes_[0];
    }

  private:
    static constexpr int count = 32;
    double lanes_[count] = {};
};

// p + ∇ᵀq at a pixel; `above` and `left` are offsets to its neighbours.
double residual(const float* p, const float* vertical, const float* horizontal, std::ptrdiff_t above,
                std::ptrdiff_t left) {
    return *p + ((double(vertical[above]) - *vertical) + (double(horizontal[left]) - *horizontal));
}

}  // namespace

std::size_t pdhg_step_gradients_workspace_bytes(const PdhgProblem& problem) {
    return aligned(std::size_t(problem.solves) * std::size_t(problem.height) * 3 * sizeof(double));
}

void pdhg_step_gradients(const PdhgProblem& problem, const PdhgStep& step, double* gradient,
                         const PdhgWorkspace& workspace) {
    const PdhgState &state = step.state, &next = step.next;
    const PdhgAdjointState &adjoint_next = step.adjoint_next, &adjoint = step.adjoint;
    check_pdhg("pdhg_step_gradients", problem, 1);
    check_pdhg_workspace("pdhg_step_gradients", workspace, pdhg_step_gradients_workspace_bytes(problem));
    const int height = problem.height, width = problem.width;
    const std::int64_t rows = std::int64_t(problem.solves) * height;
    const bool periodic = problem.boundary == Boundary::periodic;
    const std::ptrdiff_t pixels = problem.pixels();
    auto* row_sums = static_cast<double*>(workspace.memory);  // of the three sums above, one after the other

    parallel_for(rows, 13 * pixels * problem.solves, [&](std::int64_t n) {
        const std::ptrdiff_t solve = n / height, i = n % height;
        const std::ptrdiff_t to_above = (i > 0 ? -1 : height - 1) * std::ptrdiff_t(width);
        const std::ptrdiff_t to_below = i + 1 < height ? width : periodic ? -i * width : 0;
        LaneSum tau, sigma, theta;
        for (int j = 0; j < width; ++j) {
            const std::ptrdiff_t pixel = i * width + j, here = solve * pixels + pixel;
            const std::ptrdiff_t vertical = 2 * solve * pixels + pixel, horizontal = vertical + pixels;
            const std::ptrdiff_t to_left = j > 0 ? -1 : width - 1;
            const std::ptrdiff_t to_right = j + 1 < width ? 1 : periodic ? -j : 0;

            const double r =
                residual(next.p + here, next.q + vertical, next.q + horizontal, to_above, to_left);
            const double rho = residual(adjoint_next.p + here, adjoint_next.q + vertical,
                                        adjoint_next.q + horizontal, to_above, to_left);
            const float* bar = state.x_bar + here;
            const double noise = double(*bar) - step.z[solve / problem.solves_per_image * pixels + pixel];
            const double down = double(bar[to_below]) - *bar, right = double(bar[to_right]) - *bar;
            tau.add(j, adjoint_next.y_bar[here] * r);
            sigma.add(j, adjoint.p[here] * (noise - next.p[here]) +
                             (adjoint.q[vertical] * down + adjoint.q[horizontal] * right));
            theta.add(j, rho * r);
        }
        row_sums[n] = tau.fold();
        row_sums[rows + n] = sigma.fold();
        row_sums[2 * rows + n] = theta.fold();
    });
    const double factors[3] = {-1.0, -1.0, double(problem.tau) * step.next_sigma};
    for (int parameter = 0; parameter < 3; ++parameter) {
        LaneSum sum;
        for (std::int64_t n = 0; n < rows; ++n) sum.add(n, row_sums[parameter * rows + n]);
        gradient[parameter] += factors[parameter] * sum.fold();
    }
}

}  // namespace tvmap::cpu
