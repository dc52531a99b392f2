// The solver with one cluster of blocks per solve, its state in registers and shared memory for all steps.
// Each block has a strip of whole rows; per step it sends its last row's new q_vertical to the block below
// and its first row's new x̄ to the block above, round the image's border too. (Under Neumann what goes round
// is not used: the last row's x̄ below is its own, and its q_vertical is 0.)
// Twice a step the whole cluster meets; kernels/solver/pdhg_neighbours.cu does without.
#include <algorithm>
#include <limits>

#include "kernels/solver/pdhg_cluster.h"

namespace tvmap::pdhg {
namespace {

constexpr const char* name = "pdhg_cluster_kernel";

// The blocks of a solve meet.
__device__ inline void meet(int cluster) {
    if (cluster == 1) {
        __syncthreads();
    } else {
        gpu::cluster_barrier();
    }
}

template <class Step, int strip_rows>
__global__ void __launch_bounds__(most_cluster_threads, 1)
    pdhg_cluster_kernel(Task t, SharedLayout<Step> layout, int cluster) {
    if (t.settled()) return;
    float* shared = gpu::shared_memory<float>();
    const int rank = cluster == 1 ? 0 : int(gpu::cluster_rank());
    const Region region = strip_of_rows(t, rank, cluster);
    Strip<Step, strip_rows> strip(t, region, layout, shared);

    // Where the neighbours have the rows that this block provides.
    const int above = rank == 0 ? cluster - 1 : rank - 1, below = rank + 1 == cluster ? 0 : rank + 1;
    float* row_below_above = shared + layout.x_bar(rows_of(t.height, above, cluster), strip.column);
    float* edge_below = shared + layout.edge(0, strip.column);
    if (cluster > 1) {
        row_below_above = gpu::cluster_shared(row_below_above, unsigned(above));
        edge_below = gpu::cluster_shared(edge_below, unsigned(below));
    }

    strip.load(t, region);
    if constexpr (Step::adjoint) {
        if (t.iterations > 0) strip.fetch_word(t, t.iterations - 1);
    }
    meet(cluster);
    for (int k = 0; k < t.iterations; ++k) {
        strip.dual(t);
        if (strip.ends(region)) *edge_below = *strip.next_edge();
        meet(cluster);
        if constexpr (Step::adjoint) {
            if (k + 1 < t.iterations) strip.fetch_word(t, t.iterations - 2 - k);
        } else if constexpr (Step::masks) {
            strip.store_word_of(t, k);
        }
        strip.primal(t);
        if (strip.first == 0) *row_below_above = *strip.here;
        meet(cluster);
    }
    strip.finish(t, region);
}

// Calls body(kernel) with the one for the plan's strips.
template <class Step, class Body>
auto with_kernel(const ClusterPlan& plan, const Body& body) {
    return plan.strip_rows == 2 ? body(pdhg_cluster_kernel<Step, 2>) : body(pdhg_cluster_kernel<Step, 8>);
}

int solves_at_once(const ClusterPlan& plan, MapKind map) {
    if (plan.neighbours) return resident_neighbours(plan, map);
    return of_either_direction(map, [&](auto step) {
        return with_kernel<decltype(step)>(plan, [&](auto kernel) {
            return gpu::resident_blocks(plan.launch<decltype(step)>(name, 1), kernel) / plan.cluster;
        });
    });
}

}  // namespace

std::string cluster_refusal(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    const gpu::Device& device = gpu::device();
    const int cluster = mapping.cluster;
    if (cluster < 1 || (cluster & (cluster - 1)) != 0 || cluster > device.largest_cluster) {
        return text("clusters of ", cluster, " blocks; ", device.name, " has powers of two up to ",
                    device.largest_cluster);
    }
    if (mapping.neighbours && cluster == 1) return "a cluster of one block, which has no neighbours";
    if (cluster > problem.height) return text("more blocks (", cluster, ") than rows");
    if (std::int64_t(problem.solves) * cluster > (1 << 30)) return "too many solves for one launch";
    const ClusterPlan plan(problem.height, problem.width, mapping);
    if (plan.strip_rows == 0) return text("a block's share of ", plan.rows, " rows exceeds its threads");
    if (plan.shared_bytes(problem.map) > std::int64_t(device.shared_per_block)) {
        return text("a block's share of ", plan.rows, " rows exceeds its shared memory");
    }
    if (solves_at_once(plan, problem.map) == 0) {
        return text("the device does not hold a cluster of ", cluster, " such blocks");
    }
    return {};
}

int cluster_solves_at_once(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    const ClusterPlan plan(problem.height, problem.width, mapping);
    return plan.strip_rows == 0 ? 0 : solves_at_once(plan, problem.map);
}

double cluster_cost(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    const std::int64_t processors = gpu::device().multiprocessors, cluster = mapping.cluster;
    const ClusterPlan plan(problem.height, problem.width, mapping);
    const std::int64_t at_once = cluster_solves_at_once(problem, mapping);
    if (at_once == 0) return std::numeric_limits<double>::infinity();
    const std::int64_t turns = (problem.solves + at_once - 1) / at_once;
    // Blocks of a multiprocessor: of a full device, and of the solves of a turn, evenly spread.
    const std::int64_t full = (at_once * cluster + processors - 1) / processors;
    const std::int64_t each =
        (std::min<std::int64_t>(problem.solves, at_once) * full + at_once - 1) / at_once;
    const double barriers = 2 * (mapping.neighbours    ? block_barrier_cost + message_cost
                                 : mapping.cluster > 1 ? cluster_barrier_cost
                                                       : block_barrier_cost);
    return double(turns) * (double(each) * 32 * plan.panels * plan.rows + barriers);
}

void run_cluster(gpu::Stream stream, const Task& task, Direction direction,
                 const cuda::PdhgMapping& mapping) {
    const ClusterPlan plan(task.height, task.width, mapping);
    if (plan.neighbours) return run_neighbours(stream, plan, task, direction);
    for_step(task, direction, [&](auto step) {
        using Step = decltype(step);
        with_kernel<Step>(plan, [&](auto kernel) {
            gpu::launch(stream, plan.launch<Step>(name, task.solves), kernel, task, plan.layout<Step>(),
                        plan.cluster);
        });
    });
}

}  // namespace tvmap::pdhg
