// The family on the GPU: the steps of kernels/family/family_step.h, one thread per pixel, state in global memory, two
// kernels for each step, or three where N is not the identity. Any size and GPU.
#include "kernels/family/family_step.h"
#include "kernels/gpu/block_sum.h"
#include "kernels/gpu/gpu.h"

namespace tvmap {
namespace family {
namespace {

constexpr unsigned block_threads = 256;

/// The pixel of a thread.
struct Pixel {
    bool exists;
    int solve, row, column;
    std::ptrdiff_t here;  ///< within its plane

    __device__ explicit Pixel(const Task& t) {
        const std::int64_t n = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x, line = n / t.width;
        exists = n < t.solves * t.pixels();
        solve = int(line / t.height);
        row = int(line % t.height);
        column = int(n % t.width);
        here = std::ptrdiff_t(row) * t.width + column;
    }
    __device__ Links neighbours(const Task& t) const {
        return links(t.height, t.width, t.periodic, row, column);
    }
};

/// Whether there is nothing left to do, the same for all threads of a launch.
__device__ inline bool settled(const Task& t) { return t.settling != nullptr && t.settling->settled != 0; }

template <Regulariser r>
__global__ void family_start_kernel(Task t) {
    const Pixel pixel(t);
    if (settled(t) || !pixel.exists) return;
    start_pixel<r>(t, solve_of(t, pixel.solve, 0), pixel.neighbours(t), pixel.here);
}

/// gram_plane = N x for every solve, whose x lie `stride` floats apart.
__global__ void family_gram_kernel(Task t, const float* x, std::int64_t stride) {
    const Pixel pixel(t);
    if (settled(t) || !pixel.exists) return;
    const DataOperator& n = t.gram;
    const float* weights =
        n.data == DataTerm::weights ? n.weights(pixel.solve / n.solves_per_image) : nullptr;
    t.gram_plane[pixel.solve * t.pixels() + pixel.here] =
        gram_at<float>(n, weights, x + pixel.solve * stride, pixel.row, pixel.column);
}

template <Regulariser r, MapKind kind, bool masks>
__global__ void family_dual_kernel(Task t, int step) {
    const Pixel pixel(t);
    if (!pixel.exists) return;
    dual_pixel<r, kind, masks, false>(t.a, t.s, t.huber, solve_of(t, pixel.solve, step), pixel.neighbours(t),
                                      pixel.here);
}

template <Regulariser r, MapKind kind>
__global__ void family_adjoint_dual_kernel(Task t, int step) {
    const Pixel pixel(t);
    if (settled(t) || !pixel.exists) return;
    adjoint_dual_pixel<r, kind, false>(t.a, t.s, t.huber, solve_of(t, pixel.solve, step), pixel.neighbours(t),
                                       pixel.here);
}

template <Regulariser r>
__global__ void family_primal_kernel(Task t) {
    const Pixel pixel(t);
    if (settled(t) || !pixel.exists) return;
    const Solve s = solve_of(t, pixel.solve, 0);
    primal_pixel<r, false>(t.b, t.theta, t.adjoint ? s.n : s.r, s, pixel.neighbours(t), pixel.here);
}

__global__ void family_finish_kernel(Task t) {
    const Pixel pixel(t);
    if (settled(t) || !pixel.exists) return;
    finish_pixel(t, solve_of(t, pixel.solve, 0), pixel.solve, pixel.here);
}

/// d_lambda of a scalar map, in the CPU's order: along every row, then over the rows. One block per map.
__global__ void family_map_sum_kernel(Task t, double* row_sums) {
    if (settled(t)) return;
    const double sum = gpu::plane_sum(t.d_maps + blockIdx.x * t.pixels(), t.height, t.width,
                                      row_sums + std::int64_t(blockIdx.x) * t.height);
    if (threadIdx.x == 0) store(t.accumulate, float(sum), t.out.d_lambda, blockIdx.x);
}

/// One thread per pixel of the batch.
gpu::Launch over_pixels(const char* name, const Task& t) {
    return {.name = name,
            .grid = dim3(gpu::blocks_for(t.solves * t.pixels(), block_threads)),
            .block = dim3(block_threads)};
}

void apply_gram(gpu::Stream stream, const Task& t, const float* x, std::int64_t stride) {
    if (t.gram_plane == nullptr) return;
    gpu::launch(stream, over_pixels("family_gram_kernel", t), family_gram_kernel, t, x, stride);
}

}  // namespace
}  // namespace family

namespace cuda {

void solver_forward(gpu::Stream stream, const SolverProblem& problem, int iterations,
                    const SolverInput& input, const PdhgOutput& output, const PdhgWorkspace& workspace) {
    using namespace family;
    const Task t = forward_task("solver_forward", problem, iterations, input, output, workspace);
    const gpu::Launch dual = over_pixels("family_dual_kernel", t),
                      primal = over_pixels("family_primal_kernel", t);
    for_regulariser(problem.regulariser, [&](auto regulariser) {
        for_map(problem.map, [&](auto map) {
            constexpr Regulariser r = regulariser.value;
            constexpr MapKind kind = map.value;
            gpu::launch(stream, over_pixels("family_start_kernel", t), family_start_kernel<r>, t);
            for (int k = 0; k < iterations; ++k) {
                apply_gram(stream, t, t.at.x_bar, t.fields * t.pixels());
                gpu::launch(stream, dual,
                            t.masks != nullptr ? family_dual_kernel<r, kind, true>
                                               : family_dual_kernel<r, kind, false>,
                            t, k);
                gpu::launch(stream, primal, family_primal_kernel<r>, t);
            }
        });
    });
    gpu::launch(stream, over_pixels("family_finish_kernel", t), family_finish_kernel, t);
}

void solver_adjoint(gpu::Stream stream, const SolverProblem& problem, int iterations, const float* gram,
                    const PdhgAdjoint& adjoint, const SolverDerivatives& derivatives,
                    const PdhgWorkspace& workspace) {
    using namespace family;
    const Task t = adjoint_task("solver_adjoint", problem, iterations, gram, adjoint, derivatives, workspace);
    const gpu::Launch dual = over_pixels("family_adjoint_dual_kernel", t),
                      primal = over_pixels("family_primal_kernel", t);
    for_regulariser(problem.regulariser, [&](auto regulariser) {
        constexpr Regulariser r = regulariser.value;
        gpu::launch(stream, over_pixels("family_start_kernel", t), family_start_kernel<r>, t);
        for (int k = iterations - 1; k >= 0; --k) {
            gpu::launch(stream, dual,
                        problem.map == MapKind::separate ? family_adjoint_dual_kernel<r, MapKind::separate>
                                                         : family_adjoint_dual_kernel<r, MapKind::shared>,
                        t, k);
            apply_gram(stream, t, t.at.p, t.pixels());
            gpu::launch(stream, primal, family_primal_kernel<r>, t);
        }
    });
    gpu::launch(stream, over_pixels("family_finish_kernel", t), family_finish_kernel, t);
    if (t.scalar_map && derivatives.d_lambda != nullptr)
        gpu::launch(stream,
                    {.name = "family_map_sum_kernel",
                     .grid = dim3(unsigned(problem.solves * problem.maps())),
                     .block = dim3(block_threads)},
                    family_map_sum_kernel, t, Workspace(problem, workspace.memory).row_sums);
}

}  // namespace cuda
}  // namespace tvmap
