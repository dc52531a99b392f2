// The gradient for the step sizes of one step of the solver; derived in kernels/solver/pdhg_step_gradients.cpp,
// whose expressions and order of sums these are.
#include <cstdint>

#include "kernels/gpu/gpu.h"
#include "kernels/solver/pdhg.h"
#include "kernels/solver/pdhg_problem.h"

namespace tvmap {
namespace pdhg {
namespace {

constexpr int lanes = 32, rows_per_block = 8, parameters = 3;

struct StepTask {
    int solves, height, width, solves_per_image;
    bool periodic;
    const float* z;
    PdhgState state, next;
    PdhgAdjointState adjoint_next, adjoint;
    double factors[parameters];
    double* row_sums;  // parameters × (solves·H)
};

// The lanes' sums, folded in halves; at lane 0.
__device__ inline double fold(double value) {
    for (unsigned half = lanes / 2; half > 0; half /= 2) value += __shfl_down_sync(~0u, value, half);
    return value;
}

// p + ∇ᵀq at a pixel; `above` and `left` are offsets to its neighbours.
__device__ inline double residual(const float* p, const float* vertical, const float* horizontal,
                                  std::int64_t above, std::int64_t left) {
    return *p + ((double(vertical[above]) - *vertical) + (double(horizontal[left]) - *horizontal));
}

// One warp per row.
__global__ void pdhg_step_row_kernel(StepTask t) {
    const int rows = t.solves * t.height, n = int(blockIdx.x) * rows_per_block + int(threadIdx.y);
    if (n >= rows) return;
    const std::int64_t pixels = std::int64_t(t.height) * t.width, solve = n / t.height, i = n % t.height;
    const std::int64_t to_above = (i > 0 ? -1 : t.height - 1) * std::int64_t(t.width);
    const std::int64_t to_below = i + 1 < t.height ? t.width : t.periodic ? -i * t.width : 0;
    double tau = 0, sigma = 0, theta = 0;
    for (int j = int(threadIdx.x); j < t.width; j += lanes) {
        const std::int64_t pixel = i * t.width + j, here = solve * pixels + pixel;
        const std::int64_t vertical = 2 * solve * pixels + pixel, horizontal = vertical + pixels;
        const std::int64_t to_left = j > 0 ? -1 : t.width - 1;
        const std::int64_t to_right = j + 1 < t.width ? 1 : t.periodic ? -j : 0;

        const double r =
            residual(t.next.p + here, t.next.q + vertical, t.next.q + horizontal, to_above, to_left);
        const double rho = residual(t.adjoint_next.p + here, t.adjoint_next.q + vertical,
                                    t.adjoint_next.q + horizontal, to_above, to_left);
        const float* bar = t.state.x_bar + here;
        const double noise = double(*bar) - t.z[solve / t.solves_per_image * pixels + pixel];
        const double down = double(bar[to_below]) - *bar, right = double(bar[to_right]) - *bar;
        tau += t.adjoint_next.y_bar[here] * r;
        sigma += t.adjoint.p[here] * (noise - t.next.p[here]) +
                 (t.adjoint.q[vertical] * down + t.adjoint.q[horizontal] * right);
        theta += rho * r;
    }
    tau = fold(tau);
    sigma = fold(sigma);
    theta = fold(theta);
    if (threadIdx.x == 0) {
        t.row_sums[n] = tau;
        t.row_sums[rows + n] = sigma;
        t.row_sums[2 * std::int64_t(rows) + n] = theta;
    }
}

// One warp per parameter.
__global__ void pdhg_step_sum_kernel(StepTask t, double* gradient) {
    const std::int64_t rows = std::int64_t(t.solves) * t.height;
    const int parameter = int(threadIdx.y);
    double sum = 0;
    for (std::int64_t n = threadIdx.x; n < rows; n += lanes) sum += t.row_sums[parameter * rows + n];
    sum = fold(sum);
    if (threadIdx.x == 0) gradient[parameter] += t.factors[parameter] * sum;
}

}  // namespace
}  // namespace pdhg

namespace cuda {

std::size_t pdhg_step_gradients_workspace_bytes(const PdhgProblem& problem) {
    return cpu::pdhg_step_gradients_workspace_bytes(problem);
}

void pdhg_step_gradients(gpu::Stream stream, const PdhgProblem& problem, const PdhgStep& step,
                         double* gradient, const PdhgWorkspace& workspace) {
    check_pdhg("pdhg_step_gradients", problem, 1);
    check_pdhg_workspace("pdhg_step_gradients", workspace, pdhg_step_gradients_workspace_bytes(problem));
    const pdhg::StepTask task{problem.solves,
                              problem.height,
                              problem.width,
                              problem.solves_per_image,
                              problem.boundary == Boundary::periodic,
                              step.z,
                              step.state,
                              step.next,
                              step.adjoint_next,
                              step.adjoint,
                              {-1.0, -1.0, double(problem.tau) * step.next_sigma},
                              static_cast<double*>(workspace.memory)};
    const std::int64_t rows = std::int64_t(problem.solves) * problem.height;
    gpu::launch(stream,
                {.name = "pdhg_step_row_kernel",
                 .grid = dim3(gpu::blocks_for(rows, pdhg::rows_per_block)),
                 .block = dim3(pdhg::lanes, pdhg::rows_per_block)},
                pdhg::pdhg_step_row_kernel, task);
    gpu::launch(
        stream,
        {.name = "pdhg_step_sum_kernel", .grid = dim3(1), .block = dim3(pdhg::lanes, pdhg::parameters)},
        pdhg::pdhg_step_sum_kernel, task, gradient);
}

}  // namespace cuda
}  // namespace tvmap
