// The solver with one cluster of blocks per solve, its state in registers and shared memory for all steps.
// Each block has a strip of whole rows; per step it sends its last row's new q_vertical to the block below
// and its first row's new x̄ to the block above, round the image's border too. (Under Neumann what goes round
// is not used: the last row's x̄ below is its own, and its q_vertical is 0.)
#include <algorithm>
#include <limits>

#include "kernels/solver/pdhg_mappings.h"
#include "kernels/solver/pdhg_region.h"

namespace tvmap::pdhg {
namespace {

constexpr int most_threads = 1024;

// Rows of the image that come before the block of this rank.
__host__ __device__ inline int rows_before(int height, int rank, int cluster) {
    return int(std::int64_t(height) * rank / cluster);
}

// The blocks of a solve meet.
__device__ inline void meet(int cluster) {
    if (cluster == 1) {
        __syncthreads();
    } else {
        gpu::cluster_barrier();
    }
}

template <class Step, int strip_rows>
__global__ void __launch_bounds__(most_threads, 1)
    pdhg_cluster_kernel(Task t, SharedLayout<Step> layout, int cluster) {
    if (t.settled()) return;
    float* shared = gpu::shared_memory<float>();
    const int rank = cluster == 1 ? 0 : int(gpu::cluster_rank());
    const auto begin = [&](int r) { return rows_before(t.height, r, cluster); };
    Region region;
    region.solve = int(blockIdx.x) / cluster;
    region.top = begin(rank);
    region.left = 0;
    region.rows = begin(rank + 1) - region.top;
    region.first_row = region.first_column = 0;
    region.own_rows = region.rows;
    region.own_columns = t.width;
    region.closed = true;
    region.rim = 0;
    Strip<Step, strip_rows> strip(t, region, layout, shared);

    // Where the neighbours have the rows that this block provides.
    const int above = rank == 0 ? cluster - 1 : rank - 1, below = rank + 1 == cluster ? 0 : rank + 1;
    float* row_below_above = shared + layout.x_bar(begin(above + 1) - begin(above), strip.column);
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

// How a cluster is laid out for a problem; strip_rows is 0 where it does not fit a block's threads.
struct Plan {
    int rows, panels, strip_rows = 0;

    Plan(int height, int width, int cluster)
        : rows((height + cluster - 1) / cluster), panels((width + 31) / 32) {
        for (const int candidate : {8, 2}) {
            if (threads(candidate) <= most_threads) strip_rows = candidate;
        }
    }
    int strips(int per_strip) const { return (rows + per_strip - 1) / per_strip; }
    std::int64_t threads(int per_strip) const { return std::int64_t(32) * panels * strips(per_strip); }
    // Of the kernels that the problem may need, the one with most planes.
    std::int64_t shared_bytes(MapKind map) const {
        const int planes = 3 + (map == MapKind::separate ? 2 : 1);
        return 32 * panels * (std::int64_t(rows + 1) * planes + strips(strip_rows) + 1) *
               std::int64_t(sizeof(float));
    }
};

// Calls body(how, kernel, layout) with the launch of so many solves.
template <class Step, class Body>
auto with_launch(const Plan& plan, int solves, int cluster, const Body& body) {
    const SharedLayout<Step> layout{plan.rows, plan.panels, plan.strips(plan.strip_rows)};
    const gpu::Launch how{.name = "pdhg_cluster_kernel",
                          .grid = dim3(unsigned(solves) * unsigned(cluster)),
                          .block = layout.block(),
                          .cluster = unsigned(cluster),
                          .shared_bytes = std::size_t(layout.floats()) * sizeof(float)};
    return plan.strip_rows == 2 ? body(how, pdhg_cluster_kernel<Step, 2>, layout)
                                : body(how, pdhg_cluster_kernel<Step, 8>, layout);
}

template <class Step>
int resident_clusters(const Plan& plan, int cluster) {
    return with_launch<Step>(plan, 1, cluster, [&](const gpu::Launch& how, auto kernel, const auto&) {
        return gpu::resident_blocks(how, kernel) / cluster;
    });
}
// In the direction of which the device holds fewer.
int solves_at_once(const Plan& plan, MapKind map, int cluster) {
    return map == MapKind::separate ? std::min(resident_clusters<Forward<true, 2>>(plan, cluster),
                                               resident_clusters<Adjoint<2>>(plan, cluster))
                                    : std::min(resident_clusters<Forward<true, 1>>(plan, cluster),
                                               resident_clusters<Adjoint<1>>(plan, cluster));
}

}  // namespace

std::string cluster_refusal(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    const gpu::Device& device = gpu::device();
    const int cluster = mapping.cluster;
    if (cluster < 1 || (cluster & (cluster - 1)) != 0 || cluster > device.largest_cluster) {
        return text("clusters of ", cluster, " blocks; ", device.name, " has powers of two up to ",
                    device.largest_cluster);
    }
    if (cluster > problem.height) return text("more blocks (", cluster, ") than rows");
    if (std::int64_t(problem.solves) * cluster > (1 << 30)) return "too many solves for one launch";
    const Plan plan(problem.height, problem.width, cluster);
    if (plan.strip_rows == 0) return text("a block's share of ", plan.rows, " rows exceeds its threads");
    if (plan.shared_bytes(problem.map) > std::int64_t(device.shared_per_block)) {
        return text("a block's share of ", plan.rows, " rows exceeds its shared memory");
    }
    if (solves_at_once(plan, problem.map, cluster) == 0) {
        return text("the device does not hold a cluster of ", cluster, " such blocks");
    }
    return {};
}

int cluster_solves_at_once(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    const Plan plan(problem.height, problem.width, mapping.cluster);
    return plan.strip_rows == 0 ? 0 : solves_at_once(plan, problem.map, mapping.cluster);
}

double cluster_cost(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    const std::int64_t processors = gpu::device().multiprocessors, cluster = mapping.cluster;
    const Plan plan(problem.height, problem.width, mapping.cluster);
    const std::int64_t at_once = cluster_solves_at_once(problem, mapping);
    if (at_once == 0) return std::numeric_limits<double>::infinity();
    const std::int64_t turns = (problem.solves + at_once - 1) / at_once;
    // Blocks of a multiprocessor: of a full device, and of the solves of a turn, evenly spread.
    const std::int64_t full = (at_once * cluster + processors - 1) / processors;
    const std::int64_t each =
        (std::min<std::int64_t>(problem.solves, at_once) * full + at_once - 1) / at_once;
    const double barriers = 2 * (mapping.cluster > 1 ? cluster_barrier_cost : block_barrier_cost);
    return double(turns) * (double(each) * 32 * plan.panels * plan.rows + barriers);
}

void run_cluster(gpu::Stream stream, const Task& task, Direction direction,
                 const cuda::PdhgMapping& mapping) {
    const Plan plan(task.height, task.width, mapping.cluster);
    for_step(task, direction, [&](auto step) {
        with_launch<decltype(step)>(plan, task.solves, mapping.cluster,
                                    [&](const gpu::Launch& how, auto kernel, const auto& layout) {
                                        gpu::launch(stream, how, kernel, task, layout, mapping.cluster);
                                    });
    });
}

}  // namespace tvmap::pdhg
