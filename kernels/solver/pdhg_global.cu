// The solver with its state in global memory: two kernels per step, one thread per pixel, any size and GPU.
// Traffic per pixel and step (forward, shared map): dual 24 bytes read and 12 written, primal 20 and 8.
#include "kernels/solver/pdhg_mappings.h"

namespace tvmap::pdhg {
namespace {

constexpr unsigned block_threads = 256;

// The iterates, solves×H×W each; sum_p and d_lambda are the adjoint's.
struct Planes {
    float* x;
    float* x_bar;
    float* p;
    float* q_vertical;
    float* q_horizontal;
    float* sum_p;
    float* d_lambda[2];
};
constexpr int plane_count = 8;

// A warp has 32 columns of a row; lanes may stick out of the row, warps out of the batch.
struct Pixel {
    Place at;
    bool in_batch, exists;

    __device__ explicit Pixel(const Task& t) {
        const int segments = (t.width + 31) / 32;
        const std::int64_t warp = (std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
        const std::int64_t row = warp / segments;
        at.column = int(warp % segments) * 32 + int(threadIdx.x % 32);
        at.row = int(row % t.height);
        at.solve = int(row / t.height);
        in_batch = row < std::int64_t(t.solves) * t.height;
        exists = in_batch && at.column < t.width;
    }
};

template <class Step>
__global__ void pdhg_start_kernel(Task t, Planes s) {
    if (t.settled()) return;
    const Pixel pixel(t);
    if (!pixel.exists) return;
    const std::int64_t here = index(t, pixel.at);
    const Iterates first = first_iterates<Step>(t, pixel.at);
    s.x[here] = first.x;
    s.x_bar[here] = first.x_bar;
    s.p[here] = first.p;
    s.q_vertical[here] = first.q_vertical;
    s.q_horizontal[here] = first.q_horizontal;
    if constexpr (Step::adjoint) {
        s.sum_p[here] = first_sum_p(t, pixel.at);
        s.d_lambda[0][here] = 0.0f;
        s.d_lambda[1][here] = 0.0f;
    }
}

template <class Step>
__global__ void pdhg_dual_kernel(Task t, Planes s, int iteration) {
    if (t.settled()) return;
    const Pixel pixel(t);
    if (!pixel.in_batch) return;
    const auto [solve, row, column] = pixel.at;
    const std::int64_t word = word_offset(t, solve, iteration, row, column / pdhg_group);
    Decision vertical, horizontal;
    if (pixel.exists) {
        const std::int64_t here = index(t, pixel.at);
        const int below = row + 1 < t.height ? row + 1 : t.neumann ? row : 0;
        const int right = column + 1 < t.width ? column + 1 : t.neumann ? column : 0;
        const float bar = s.x_bar[here];
        const float v = unclipped(t, s.q_vertical[here], s.x_bar[index(t, {solve, below, column})] - bar);
        const float h = unclipped(t, s.q_horizontal[here], s.x_bar[index(t, {solve, row, right})] - bar);
        if constexpr (Step::adjoint) {
            const float p = next_p(t, s.p[here], bar);
            s.p[here] = p;
            s.sum_p[here] += p;
            const Word e = load_word(t, word);
            vertical = decision(e.vertical, 1u << column % pdhg_group);
            horizontal = decision(e.horizontal, 1u << column % pdhg_group);
            if constexpr (Step::maps > 0) {
                float* other = s.d_lambda[Step::maps - 1];
                s.d_lambda[0][here] = map_gradient(s.d_lambda[0][here], v, vertical);
                other[here] = map_gradient(other[here], h, horizontal);
            }
            s.q_vertical[here] = pass(v, vertical);
            s.q_horizontal[here] = pass(h, horizontal);
        } else {
            s.p[here] = next_p(t, s.p[here], bar - image(t, pixel.at));
            const float lambda = map<Step>(t, pixel.at, 0), lambda_horizontal = map<Step>(t, pixel.at, 1);
            vertical = compare(v, lambda);
            horizontal = compare(h, lambda_horizontal);
            s.q_vertical[here] = clip(v, lambda);
            s.q_horizontal[here] = clip(h, lambda_horizontal);
        }
    }
    if constexpr (!Step::adjoint && Step::masks) {
        const unsigned above = __ballot_sync(~0u, vertical.above);
        const unsigned below = __ballot_sync(~0u, vertical.below);
        const unsigned right_above = __ballot_sync(~0u, horizontal.above);
        const unsigned right_below = __ballot_sync(~0u, horizontal.below);
        const unsigned octet = threadIdx.x % 32 / 8;
        if (pixel.exists && column % pdhg_group == 0) {
            store_word(t, word, {pack(above, below, octet), pack(right_above, right_below, octet)},
                       t.width - column);
        }
    }
}

__global__ void pdhg_primal_kernel(Task t, Planes s) {
    if (t.settled()) return;
    const Pixel pixel(t);
    if (!pixel.exists) return;
    const auto [solve, row, column] = pixel.at;
    const std::int64_t here = index(t, pixel.at);
    const int above = row > 0 ? row - 1 : t.height - 1;
    const int left = column > 0 ? column - 1 : t.width - 1;
    const Primal next =
        primal(t, s.x[here], s.p[here], s.q_vertical[index(t, {solve, above, column})], s.q_vertical[here],
               s.q_horizontal[index(t, {solve, row, left})], s.q_horizontal[here]);
    s.x[here] = next.x;
    s.x_bar[here] = next.x_bar;
}

template <class Step>
__global__ void pdhg_finish_kernel(Task t, Planes s) {
    if (t.settled()) return;
    const Pixel pixel(t);
    if (!pixel.exists) return;
    const std::int64_t here = index(t, pixel.at);
    const Iterates last{s.x[here], s.x_bar[here], s.p[here], s.q_vertical[here], s.q_horizontal[here]};
    if constexpr (Step::adjoint) {
        store_adjoint<Step>(t, pixel.at, last, s.sum_p[here], s.d_lambda[0][here], s.d_lambda[1][here]);
    } else {
        store_forward(t, pixel.at, last);
    }
}

}  // namespace

std::size_t global_workspace_bytes(const PdhgProblem& problem) {
    return std::size_t(plane_count) * std::size_t(problem.solves) * std::size_t(problem.pixels()) *
           sizeof(float);
}

void run_global(gpu::Stream stream, const Task& task, Direction direction, void* workspace) {
    const std::int64_t plane = task.solves * task.pixels();
    auto* floats = static_cast<float*>(workspace);
    const auto nth = [&](int n) { return floats + n * plane; };
    const Planes planes{nth(0), nth(1), nth(2), nth(3), nth(4), nth(5), {nth(6), nth(7)}};
    const std::int64_t warps = std::int64_t(task.solves) * task.height * ((task.width + 31) / 32);
    const dim3 grid(gpu::blocks_for(32 * warps, block_threads)), block(block_threads);
    const int iterations = task.iterations;

    for_step(task, direction, [&](auto step) {
        using Step = decltype(step);
        gpu::launch(stream, {.name = "pdhg_start_kernel", .grid = grid, .block = block},
                    pdhg_start_kernel<Step>, task, planes);
        for (int k = 0; k < iterations; ++k) {
            gpu::launch(stream, {.name = "pdhg_dual_kernel", .grid = grid, .block = block},
                        pdhg_dual_kernel<Step>, task, planes, direction.adjoint ? iterations - 1 - k : k);
            gpu::launch(stream, {.name = "pdhg_primal_kernel", .grid = grid, .block = block},
                        pdhg_primal_kernel, task, planes);
        }
        gpu::launch(stream, {.name = "pdhg_finish_kernel", .grid = grid, .block = block},
                    pdhg_finish_kernel<Step>, task, planes);
    });
}

}  // namespace tvmap::pdhg
