// What the solver's mappings do on devices that the emulation can be: which is chosen, whole turns, any order of threads.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/emulation/control.h"
#include "kernels/gpu/gpu_runtime.h"
#include "kernels/solver/pdhg.h"
#include "kernels/solver/pdhg_mappings.h"
#include "tests/reference/pdhg.h"
#include "tests/solver/cuda_pdhg_case.h"

using namespace pdhg_case;

TEST_CASE("the mapping suits the device") {
    const gpu::Device small = gpu::device();
    gpu::Device device = small;
    device.multiprocessors = 132;
    device.largest_cluster = 16;
    emulation::set_device(device);
    const PdhgMapping one = cuda::pdhg_mapping(problem_of(256, 256));
    CHECK(one.kind == Kind::tiles);
    CHECK(one.tile_rows * one.tile_columns == 512);  // 128 tiles
    CHECK(one.steps == 8);
    const PdhgMapping many = cuda::pdhg_mapping(problem_of(256, 256, MapKind::shared, 16));
    CHECK(many.kind == Kind::cluster);
    CHECK(many.cluster == 8);
    CHECK(cuda::pdhg_mapping(problem_of(64, 64, MapKind::shared, 256)).cluster == 1);
    CHECK(cuda::pdhg_mapping(problem_of(255, 257)).kind == Kind::cluster);
    CHECK(cuda::pdhg_mapping(problem_of(4096, 4095)).kind == Kind::global);

    device.largest_cluster = 1;  // before capability 9.0
    emulation::set_device(device);
    CHECK(cuda::pdhg_mapping(problem_of(256, 256, MapKind::shared, 16)).kind == Kind::tiles);
    emulation::set_device(small);
}

TEST_CASE("the CPU's bits from clusters of sixteen") {
    const gpu::Device small = gpu::device();
    gpu::Device device = small;
    device.multiprocessors = device.largest_cluster = 16;
    emulation::set_device(device);
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
        PdhgProblem s = problem_of(37, 40, MapKind::separate);
        s.boundary = boundary;
        compare_with_cpu(s, 5, {cluster_of(16), neighbours_of(16)});
    }
    emulation::set_device(small);
}

TEST_CASE("clusters fill whole turns of the device, tiles do what is left") {
    const gpu::Device small = gpu::device();
    gpu::Device device = small;
    device.multiprocessors = 132;
    const PdhgProblem s = problem_of(256, 256, MapKind::separate, 16);
    struct Case {
        const char* name;
        std::vector<int> groups;
        int in_clusters, left;  // 0: all
    };
    for (const Case& c : {Case{"16 clusters fit", {16, 16, 16, 16, 16, 16, 18, 18}, 0, 0},
                          Case{"15 clusters fit", {16, 16, 16, 18, 18, 18, 16, 14}, 15, 1}}) {
        CAPTURE(c.name);
        device.name = c.name;  // choices are remembered
        emulation::set_device(device);
        emulation::set_processor_groups(c.groups);
        const PdhgMapping mapping = cuda::pdhg_mapping(s);
        CHECK(mapping.kind == Kind::cluster);
        CHECK(mapping.cluster == 8);
        CHECK(mapping.in_clusters == c.in_clusters);
        CHECK(mapping.neighbours);  // which an H200 found faster than cluster barriers
        if (c.left == 0) continue;
        PdhgProblem rest = s;
        rest.solves = c.left;
        CHECK(mapping.tile_rows * mapping.tile_columns >= 256 * 256 * c.left / 132);  // one turn of tiles
        // Two turns of clusters are what this replaces; on an H200 a turn of them takes 3.3 times as long as
        // a turn of tiles.
        const PdhgMapping all = cluster_of(8);
        PdhgProblem whole = s;
        whole.solves = mapping.in_clusters;
        PdhgMapping tiles = mapping;
        tiles.kind = Kind::tiles;
        CHECK(pdhg::cluster_cost(s, all) == 2 * pdhg::cluster_cost(whole, all));
        const PdhgMapping neighbours = neighbours_of(8);
        CHECK(pdhg::cluster_solves_at_once(s, neighbours) == 15);
        CHECK(pdhg::cluster_cost(s, neighbours) == 2 * pdhg::cluster_cost(whole, neighbours));
        CHECK(pdhg::tiles_cost(rest, tiles) < 0.5 * pdhg::cluster_cost(whole, all));
    }
    emulation::set_processor_groups({});
    emulation::set_device(small);
}

TEST_CASE("the CPU's bits in any order of threads and blocks") {
    const PdhgProblem s = problem_of(17, 40, MapKind::shared);
    const Data data = make_data(s, 23);
    const Result expected = solve(s, 7, data);
    for (unsigned seed = 0; seed < 6; ++seed) {
        CAPTURE(seed);
        emulation::set_seed(seed);
        for (const PdhgMapping& mapping :
             available({global, cluster_of(4), neighbours_of(2), neighbours_of(8), tiles_of(9, 16, 3)})) {
            compare_with_cpu(s, 7, &mapping, data, expected);
        }
    }
    emulation::set_seed(1);
}
