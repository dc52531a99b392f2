// The solver's mappings onto a GPU, for its tests.
#pragma once
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/gpu/gpu_runtime.h"
#include "kernels/solver/pdhg.h"

namespace pdhg_case {

using namespace tvmap;
using cuda::PdhgMapping;
using Kind = PdhgMapping::Kind;

inline const PdhgMapping global{};
inline PdhgMapping cluster_of(int blocks) { return {.kind = Kind::cluster, .cluster = blocks}; }
/// The same, without barriers of the whole cluster.
inline PdhgMapping neighbours_of(int blocks) {
    return {.kind = Kind::cluster, .cluster = blocks, .neighbours = true};
}
/// So many solves as clusters, the rest as tiles.
inline PdhgMapping cluster_and_tiles(int blocks, int in_clusters, int rows, int columns, int steps) {
    return {.kind = Kind::cluster,
            .tile_rows = rows,
            .tile_columns = columns,
            .steps = steps,
            .cluster = blocks,
            .in_clusters = in_clusters};
}
inline PdhgMapping tiles_of(int rows, int columns, int steps) {
    return {.kind = Kind::tiles, .tile_rows = rows, .tile_columns = columns, .steps = steps};
}
/// Without the clusters that the device does not have.
inline std::vector<PdhgMapping> available(std::vector<PdhgMapping> mappings) {
    std::erase_if(mappings, [](const PdhgMapping& m) {
        return m.kind == Kind::cluster && m.cluster > gpu::device().largest_cluster;
    });
    return mappings;
}
inline std::string name_of(const PdhgMapping& m) {
    switch (m.kind) {
        case Kind::tiles:
            return text("tiles of ", m.tile_rows, "x", m.tile_columns, ", k = ", m.steps);
        case Kind::cluster:
            return text(m.in_clusters == 0 ? std::string() : text(m.in_clusters, " as "), "clusters of ",
                        m.cluster, m.neighbours ? ", neighbours" : "",
                        m.in_clusters == 0
                            ? std::string()
                            : text(", then tiles of ", m.tile_rows, "x", m.tile_columns, ", k = ", m.steps));
        case Kind::global:
            return "global";
    }
    return {};
}

}  // namespace pdhg_case
