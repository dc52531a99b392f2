// What the two kernels of the cluster mapping share: how a solve's rows are cut, and how it is launched. In one
// the whole cluster meets (kernels/solver/pdhg_cluster.cu), in the other neighbours alone exchange messages
// (kernels/solver/pdhg_neighbours.cu). Not for users.
#pragma once
#include <algorithm>
#include <cstddef>

#include "kernels/gpu/gpu_mailbox.h"
#include "kernels/solver/pdhg_mappings.h"
#include "kernels/solver/pdhg_region.h"

namespace tvmap::pdhg {

constexpr int most_cluster_threads = 1024;

/// Rows of the image that come before the block of this rank.
__host__ __device__ inline int rows_before(int height, int rank, int cluster) {
    return int(std::int64_t(height) * rank / cluster);
}
__host__ __device__ inline int rows_of(int height, int rank, int cluster) {
    return rows_before(height, rank + 1, cluster) - rows_before(height, rank, cluster);
}

/// Whole rows, of the solve that this block's cluster has.
__device__ inline Region strip_of_rows(const Task& t, int rank, int cluster) {
    Region region;
    region.solve = int(blockIdx.x) / cluster;
    region.top = rows_before(t.height, rank, cluster);
    region.left = 0;
    region.rows = rows_of(t.height, rank, cluster);
    region.first_row = region.first_column = 0;
    region.own_rows = region.rows;
    region.own_columns = t.width;
    region.closed = true;
    region.rim = 0;
    return region;
}

/// Behind the floats of SharedLayout, in the kernel of neighbours: a mailbox for the row from above, and one
/// for the row from below.
constexpr std::size_t mailboxes_bytes = 2 * sizeof(gpu::Mailbox);

/// How a cluster is laid out for a problem; strip_rows is 0 where it does not fit a block's threads.
struct ClusterPlan {
    int cluster, rows, panels, strip_rows = 0;
    bool neighbours;

    ClusterPlan(int height, int width, const cuda::PdhgMapping& mapping)
        : cluster(mapping.cluster),
          rows((height + cluster - 1) / cluster),
          panels((width + 31) / 32),
          neighbours(mapping.neighbours) {
        for (const int candidate : {8, 2}) {
            if (threads(candidate) <= most_cluster_threads) strip_rows = candidate;
        }
    }
    int strips(int per_strip) const { return (rows + per_strip - 1) / per_strip; }
    std::int64_t threads(int per_strip) const { return std::int64_t(32) * panels * strips(per_strip); }
    /// Of the kernels that the problem may need, the one with most planes.
    std::int64_t shared_bytes(MapKind map) const {
        const int planes = 3 + (map == MapKind::separate ? 2 : 1);
        return 32 * panels * (std::int64_t(rows + 1) * planes + strips(strip_rows) + 1) *
                   std::int64_t(sizeof(float)) +
               (neighbours ? std::int64_t(mailboxes_bytes) : 0);
    }
    template <class Step>
    SharedLayout<Step> layout() const {
        return {rows, panels, strips(strip_rows)};
    }
    template <class Step>
    gpu::Launch launch(const char* kernel, int solves) const {
        const SharedLayout<Step> shared = layout<Step>();
        return {.name = kernel,
                .grid = dim3(unsigned(solves) * unsigned(cluster)),
                .block = shared.block(),
                .cluster = unsigned(cluster),
                .shared_bytes =
                    std::size_t(shared.floats()) * sizeof(float) + (neighbours ? mailboxes_bytes : 0)};
    }
};

/// The kernel of neighbours: the clusters of which the device holds so many at once, in the direction of which
/// it holds fewer; and its launch.
int resident_neighbours(const ClusterPlan& plan, MapKind map);
void run_neighbours(gpu::Stream stream, const ClusterPlan& plan, const Task& task, Direction direction);

/// The smaller of what resident(Step()) answers for either direction.
template <class Resident>
int of_either_direction(MapKind map, const Resident& resident) {
    return map == MapKind::separate ? std::min(resident(Forward<true, 2>()), resident(Adjoint<2>()))
                                    : std::min(resident(Forward<true, 1>()), resident(Adjoint<1>()));
}

}  // namespace tvmap::pdhg
