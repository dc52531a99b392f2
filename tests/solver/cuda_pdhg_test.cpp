// The total-variation solver on the GPU: every mapping gives the CPU's bits, and the reference's values.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/gpu_runtime.h"
#include "kernels/solver/pdhg.h"
#include "tests/reference/pdhg.h"
#include "tests/solver/cuda_pdhg_mappings.h"
#include "tests/solver/pdhg_case.h"
#include "tests/support/device_buffer.h"
#ifdef TVMAP_EMULATED
#include "kernels/emulation/control.h"
#include "kernels/solver/pdhg_mappings.h"
#endif

using namespace pdhg_case;
namespace {

using Bytes = std::vector<std::uint8_t>;
using Signs = std::vector<std::int8_t>;

/// All decisions, vertical then horizontal, step by step. The bits beyond the last column are arbitrary.
Signs decisions(const PdhgProblem& s, int iterations, const Bytes& masks) {
    const std::size_t pixels = std::size_t(s.pixels());
    Signs all(std::size_t(s.solves) * std::size_t(iterations) * 2 * pixels);
    std::int8_t* at = all.data();
    for (int n = 0; n < s.solves; ++n) {
        for (int k = 0; k < iterations; ++k, at += 2 * pixels) {
            cpu::pdhg_unpack_mask(s, iterations, masks.data(), n, k, at, at + pixels);
        }
    }
    return all;
}

std::size_t results(const PdhgProblem& s) { return std::size_t(s.solves * s.pixels()); }
std::size_t maps(const PdhgProblem& s) { return std::size_t(s.solves * s.map_size()); }

struct State {
    DeviceBuffer<float> x, x_bar, p, q;
    explicit State(std::size_t pixels)
        : x(std::int64_t(pixels)),
          x_bar(std::int64_t(pixels)),
          p(std::int64_t(pixels)),
          q(std::int64_t(2 * pixels)) {}
    PdhgState pointers() const { return {x.data(), x_bar.data(), p.data(), q.data()}; }
    bool intact() const { return x.intact() && x_bar.intact() && p.intact() && q.intact(); }
};

/// x_T; masks too where they are given.
Floats forward(const PdhgProblem& s, int iterations, const Data& data, const PdhgMapping* mapping,
               Bytes* masks = nullptr, const State* state = nullptr, bool start_from_state = false) {
    const DeviceBuffer<float> z(data.z), lambda(data.lambda), x{std::int64_t(results(s))};
    const DeviceBuffer<std::uint8_t> bits{std::int64_t(cuda::pdhg_mask_bytes(s, iterations))};
    const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, mapping))};
    const PdhgState iterates = state != nullptr ? state->pointers() : PdhgState{};
    cuda::pdhg_forward(test_stream(), s, iterations, z.data(), lambda.data(), x.data(),
                       masks != nullptr ? bits.data() : nullptr, state != nullptr ? &iterates : nullptr,
                       start_from_state, {workspace.data(), workspace.size()}, mapping);
    const Floats result = x.download();
    if (masks != nullptr) *masks = bits.download();
    CHECK(x.intact());
    CHECK(bits.intact());
    CHECK(workspace.intact());
    CHECK((state == nullptr || state->intact()));
    CHECK(same_bits(z.download(), data.z));
    return result;
}

struct Gradient {
    Floats d_lambda, d_z;
};
/// Into buffers that hold `before`; null where not wanted.
Gradient adjoint(const PdhgProblem& s, int iterations, const Bytes& masks, const Floats& d_x,
                 const PdhgMapping* mapping, Write write = Write::overwrite, float before = NAN,
                 bool wants_lambda = true, bool wants_z = true) {
    const DeviceBuffer<std::uint8_t> bits(masks);
    const DeviceBuffer<float> from(d_x), d_lambda(Floats(maps(s), before)), d_z(Floats(results(s), before));
    const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, mapping))};
    cuda::pdhg_adjoint(test_stream(), s, iterations, bits.data(), from.data(),
                       wants_lambda ? d_lambda.data() : nullptr, wants_z ? d_z.data() : nullptr, write,
                       {workspace.data(), workspace.size()}, mapping);
    const Gradient result{d_lambda.download(), d_z.download()};
    CHECK(d_lambda.intact());
    CHECK(d_z.intact());
    CHECK(workspace.intact());
    CHECK(bits.download() == masks);
    return result;
}

/// Forward and adjoint, bit for bit those of the CPU.
void compare_with_cpu(const PdhgProblem& s, int iterations, const PdhgMapping* mapping, const Data& data,
                      const Result& expected) {
    CAPTURE(s.height);
    CAPTURE(s.width);
    CAPTURE(s.solves);
    CAPTURE(int(s.map));
    CAPTURE(int(s.boundary));
    CAPTURE(mapping != nullptr ? name_of(*mapping) : "chosen");
    Bytes masks;
    const Floats x = forward(s, iterations, data, mapping, &masks);
    CHECK(compared_bits(x, expected.x));
    if (iterations > 0) {
        CHECK(compared_bits(decisions(s, iterations, masks), decisions(s, iterations, expected.masks)));
    }
    const Gradient d = adjoint(s, iterations, masks, data.d_x, mapping);
    CHECK(compared_bits(d.d_lambda, expected.d_lambda));
    CHECK(compared_bits(d.d_z, expected.d_z));
}
void compare_with_cpu(const PdhgProblem& s, int iterations, const std::vector<PdhgMapping>& mappings) {
    const Data data = make_data(s, unsigned(s.height * 100 + s.width));
    const Result expected = solve(s, iterations, data);
    for (const PdhgMapping& mapping : available(mappings)) {
        compare_with_cpu(s, iterations, &mapping, data, expected);
    }
}

}  // namespace

TEST_CASE("the CPU's bits from global memory: any size") {
    for (const auto& [height, width] : std::vector<std::pair<int, int>>{{1, 1}, {3, 5}, {17, 23}, {9, 64}}) {
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
                PdhgProblem s = problem_of(height, width, map, 2);
                s.boundary = boundary;
                s.dual_start = boundary == Boundary::periodic ? DualStart::image : DualStart::zero;
                compare_with_cpu(s, 7, {global});
            }
        }
    }
}

TEST_CASE("a map that is not a number shows in the result") {
    for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        const PdhgProblem s = problem_of(17, 23, map);
        Data data = make_data(s, 5);
        data.lambda.assign(data.lambda.size(), std::numeric_limits<float>::quiet_NaN());
        const PdhgMapping* const chosen = nullptr;
        for (const float x : forward(s, 3, data, chosen)) CHECK(std::isnan(x));
    }
}

TEST_CASE("the CPU's bits from clusters of any size") {
    // Panels of 32 columns full and not, strips of 2 and of 8 rows, full and not, blocks of unequal rows.
    for (const auto& [height, width] :
         std::vector<std::pair<int, int>>{{1, 1}, {3, 5}, {17, 23}, {21, 33}, {66, 32}}) {
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
                PdhgProblem s = problem_of(height, width, map, height < 20 ? 2 : 1);
                s.boundary = boundary;
                s.dual_start = boundary == Boundary::neumann ? DualStart::image : DualStart::zero;
                std::vector<PdhgMapping> mappings;
                for (const int blocks : {1, 2, 4, 8, 16}) {
                    if (blocks > height) continue;
                    if (blocks != 4) mappings.push_back(cluster_of(blocks));
                    if (blocks > 1) mappings.push_back(neighbours_of(blocks));
                }
                compare_with_cpu(s, 5, mappings);
            }
        }
    }
}

TEST_CASE("the CPU's bits from tiles of any size and any k") {
    struct Case {
        int height, width, solves;
        PdhgMapping mapping;
        bool every_kind;  // of map and boundary, or only two
    };
    for (const Case& c : {
             Case{17, 24, 2, tiles_of(8, 16, 4),
                  true},  // the last tiles 1 row or 8 columns: halos beyond them
             Case{32, 48, 1, tiles_of(16, 16, 8), false}, Case{33, 40, 1, tiles_of(11, 16, 1), true},
             Case{8, 8, 1, tiles_of(8, 16, 8), true},     // one tile, its own neighbour all round
             Case{24, 16, 1, tiles_of(5, 16, 3), false},  // down to four rows
             Case{20, 72, 1, tiles_of(20, 32, 5), false},
             Case{70, 32, 1, tiles_of(70, 32, 2), false},  // strips of 8 rows
         }) {
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
                if (!c.every_kind && (map == MapKind::separate) != (boundary == Boundary::neumann)) continue;
                if (!c.every_kind && map == MapKind::scalar) continue;
                PdhgProblem s = problem_of(c.height, c.width, map, c.solves);
                s.boundary = boundary;
                s.dual_start = boundary == Boundary::periodic ? DualStart::image : DualStart::zero;
                compare_with_cpu(s, c.mapping.steps * 2 + 1, {c.mapping});
            }
        }
    }
}

TEST_CASE("values and gradients of the double reference") {
    const int iterations = 24;
    for (const MapKind map : {MapKind::scalar, MapKind::separate}) {
        for (const PdhgMapping& mapping : available({global, cluster_of(1), tiles_of(16, 16, 8)})) {
            CAPTURE(name_of(mapping));
            PdhgProblem s = problem_of(19, 24, map);
            s.theta = 0.9f;
            s.boundary = map == MapKind::scalar ? Boundary::periodic : Boundary::neumann;
            const Data data = make_data(s, 3);
            Bytes masks;
            const Floats x = forward(s, iterations, data, &mapping, &masks);
            const Gradient d = adjoint(s, iterations, masks, data.d_x, &mapping);

            const reference::Pdhg problem{
                s.height, s.width, iterations, s.tau, s.sigma, s.theta, map != MapKind::scalar, false};
            const reference::Plane z(data.z.begin(), data.z.end());
            reference::Plane lambda(data.lambda.begin(), data.lambda.end());
            if (map == MapKind::scalar) lambda.assign(2 * z.size(), data.lambda[0]);
            // Values of order 1, and each step contracts the rounding of those before: some ten units of the
            // last place (6e-8).
            CHECK(largest_difference(x, reference::pdhg_forward(problem, z, lambda).x) < 2e-6);

            const Signs all = decisions(s, iterations, masks);
            std::vector<reference::Decisions> e;
            for (auto at = all.begin(); at != all.end(); at += 2 * s.pixels()) {
                e.emplace_back(at, at + 2 * s.pixels());
            }
            const auto expected = reference::pdhg_adjoint(problem, e, {data.d_x.begin(), data.d_x.end()});
            // Linear once e is fixed: the rounding of T additions; a scalar map's sum cancels most of it.
            CHECK(relative_difference(d.d_z, expected.z) < 2e-6);
            if (map == MapKind::separate) {
                CHECK(relative_difference(d.d_lambda, expected.lambda) < 2e-6);
            } else {
                double sum = 0, size = 0;
                for (const double v : expected.lambda) sum += v, size += std::abs(v);
                CHECK(std::abs(d.d_lambda[0] - sum) < 2e-6 * size);
            }
        }
    }
}

TEST_CASE("any mapping's adjoint reads any mapping's masks, and the CPU's") {
    const PdhgProblem s = problem_of(18, 24, MapKind::separate);
    const int iterations = 9;
    const Data data = make_data(s, 7);
    const Result expected = solve(s, iterations, data);
    const auto mappings = available({global, cluster_of(2), neighbours_of(2), tiles_of(9, 16, 4)});
    std::vector<Bytes> written = {expected.masks};
    for (const PdhgMapping& mapping : mappings) {
        written.emplace_back();
        CHECK(compared_bits(forward(s, iterations, data, &mapping, &written.back()), expected.x));
    }
    for (const PdhgMapping& mapping : mappings) {
        for (const Bytes& masks : written) {
            CAPTURE(name_of(mapping));
            const Gradient d = adjoint(s, iterations, masks, data.d_x, &mapping);
            CHECK(compared_bits(d.d_lambda, expected.d_lambda));
            CHECK(compared_bits(d.d_z, expected.d_z));
        }
    }
    const Bytes& last = written.back();
    Floats d_lambda(expected.d_lambda.size());
    Guarded workspace(cpu::pdhg_workspace_bytes(s));
    cpu::pdhg_adjoint(s, iterations, last.data(), data.d_x.data(), d_lambda.data(), nullptr, Write::overwrite,
                      workspace);
    CHECK(compared_bits(d_lambda, expected.d_lambda));
}

TEST_CASE("masks and either gradient are optional, and gradients accumulate") {
    for (const MapKind map : {MapKind::scalar, MapKind::shared}) {
        const PdhgProblem s = problem_of(11, 24, map, 2);
        const Data data = make_data(s, 31);
        const Result expected = solve(s, 6, data);
        for (const PdhgMapping& mapping :
             available({global, cluster_of(2), neighbours_of(4), tiles_of(8, 16, 4)})) {
            CAPTURE(name_of(mapping));
            CHECK(compared_bits(forward(s, 6, data, &mapping), expected.x));
            const Write add = Write::accumulate;
            const Gradient one = adjoint(s, 6, expected.masks, data.d_x, &mapping, add, 2.0f, true, false);
            const Gradient other = adjoint(s, 6, expected.masks, data.d_x, &mapping, add, 3.0f, false, true);
            Floats lambda = expected.d_lambda, z = expected.d_z;
            for (float& v : lambda) v = 2.0f + v;
            for (float& v : z) v = 3.0f + v;
            CHECK(compared_bits(one.d_lambda, lambda));
            CHECK(compared_bits(one.d_z, Floats(z.size(), 2.0f)));
            CHECK(compared_bits(other.d_lambda, Floats(lambda.size(), 3.0f)));
            CHECK(compared_bits(other.d_z, z));
        }
    }
}

TEST_CASE("a state in the middle changes nothing, and is the CPU's") {
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
        PdhgProblem s = problem_of(13, 24, MapKind::shared, 2);
        s.boundary = boundary;
        const Data data = make_data(s, 51);
        const std::size_t pixels = results(s);
        Floats x(pixels), x_bar(pixels), p(pixels), q(2 * pixels);
        const PdhgState host{x.data(), x_bar.data(), p.data(), q.data()};
        const Floats straight = denoise(s, 11, data.z, data.lambda, &host);
        for (const PdhgMapping& mapping :
             available({global, cluster_of(4), neighbours_of(4), tiles_of(13, 16, 2),
                        cluster_and_tiles(2, 1, 13, 16, 2)})) {
            CAPTURE(name_of(mapping));
            State state(pixels);
            CHECK(!same_bits(forward(s, 5, data, &mapping, nullptr, &state), straight));
            if (boundary == Boundary::neumann) {  // what no difference uses is not read
                Floats spoilt = state.q.download();
                for (int n = 0; n < s.solves; ++n) {
                    float* plane = spoilt.data() + n * 2 * s.pixels();
                    for (int j = 0; j < s.width; ++j) plane[(s.height - 1) * s.width + j] = 5.0f;
                    for (int i = 0; i < s.height; ++i) plane[s.pixels() + (i + 1) * s.width - 1] = 5.0f;
                }
                state.q.upload(spoilt);
            }
            CHECK(compared_bits(forward(s, 6, data, &mapping, nullptr, &state, true), straight));
            CHECK(compared_bits(state.x.download(), x));
            CHECK(compared_bits(state.x_bar.download(), x_bar));
            CHECK(compared_bits(state.p.download(), p));
            CHECK(compared_bits(state.q.download(), q));
        }
    }
}

TEST_CASE("many maps for one image, more solves than a launch holds, no steps") {
    PdhgProblem s = problem_of(10, 16, MapKind::scalar, 5);
    s.solves_per_image = 2;
    compare_with_cpu(s, 4, {global, cluster_of(1), cluster_of(2), neighbours_of(2), tiles_of(5, 16, 2)});
    for (const int in_clusters : {1, 2, 3, 4, 5, 7})
        compare_with_cpu(s, 4, {cluster_and_tiles(2, in_clusters, 5, 16, 2)});
    PdhgMapping neighbours_and_tiles = cluster_and_tiles(2, 3, 5, 16, 2);
    neighbours_and_tiles.neighbours = true;
    compare_with_cpu(s, 4, {neighbours_and_tiles});
    for (const int iterations : {0, 1})
        compare_with_cpu(s, iterations, {global, cluster_of(2), neighbours_of(2), tiles_of(5, 16, 2)});
    for (const MapKind map : {MapKind::shared, MapKind::separate}) {
        PdhgProblem apart = problem_of(10, 16, map, 4);
        apart.boundary = Boundary::neumann;
        apart.dual_start = DualStart::image;
        compare_with_cpu(apart, 5, {cluster_and_tiles(2, 3, 5, 16, 2)});
    }
    // 12 solves of 2 tiles: on the emulation's 8 multiprocessors in three launches.
    compare_with_cpu(problem_of(10, 16, MapKind::shared, 12), 4, {tiles_of(5, 16, 2)});
}

TEST_CASE("recorded once, the solver can be replayed") {
    const PdhgProblem s = problem_of(16, 24);
    const int iterations = 6;
    const Data data = make_data(s, 5);
    const Result expected = solve(s, iterations, data);
    for (const PdhgMapping& mapping :
         available({global, cluster_of(2), neighbours_of(4), tiles_of(8, 16, 2)})) {
        CAPTURE(name_of(mapping));
        const DeviceBuffer<float> z(data.z), lambda(data.lambda), d_x(data.d_x);
        DeviceBuffer<float> x{std::int64_t(results(s))}, d_lambda{std::int64_t(maps(s))};
        const DeviceBuffer<std::uint8_t> masks{std::int64_t(cuda::pdhg_mask_bytes(s, iterations))};
        const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, &mapping))};
        const auto graph = gpu::record(test_stream(), [&] {
            cuda::pdhg_forward(test_stream(), s, iterations, z.data(), lambda.data(), x.data(), masks.data(),
                               nullptr, false, {workspace.data(), workspace.size()}, &mapping);
            cuda::pdhg_adjoint(test_stream(), s, iterations, masks.data(), d_x.data(), d_lambda.data(),
                               nullptr, Write::overwrite, {workspace.data(), workspace.size()}, &mapping);
        });
        CHECK(x.untouched());
        for (int replay = 0; replay < 2; ++replay) {
            x.upload(Floats(x.size(), NAN));
            d_lambda.upload(Floats(d_lambda.size(), NAN));
            graph->launch(test_stream());
            CHECK(compared_bits(x.download(), expected.x));
            CHECK(compared_bits(d_lambda.download(), expected.d_lambda));
        }
    }
}

TEST_CASE("impossible problems, and mappings that do not fit, are refused") {
    PdhgProblem s = problem_of(16, 24);
    const Data data = make_data(s, 81);
    CHECK_THROWS_AS(forward(s, -1, data, nullptr), Error);
    CHECK_THROWS_AS(forward(s, 1, data, nullptr, nullptr, nullptr, true), Error);
    CHECK_THROWS_AS(
        cuda::pdhg_adjoint(test_stream(), s, 1, nullptr, nullptr, nullptr, nullptr, Write::overwrite, {}),
        Error);
    for (const PdhgMapping& mapping :
         {cluster_of(3), cluster_of(0), cluster_of(32), neighbours_of(1), neighbours_of(3),
          tiles_of(0, 16, 1), tiles_of(8, 24, 1), tiles_of(8, 16, 0), tiles_of(8, 16, 9), tiles_of(8, 32, 17),
          tiles_of(500, 16, 8)}) {
        CAPTURE(name_of(mapping));
        CHECK_THROWS_AS(forward(s, 1, data, &mapping), Error);
    }
    s.tau = 0.5f;  // τσL² = 1.5
    CHECK_THROWS_AS(forward(s, 1, data, &global), Error);
    s = problem_of(16, 23);
    const PdhgMapping tiles = tiles_of(8, 16, 4), pair = cluster_of(2);
    CHECK_THROWS_AS(forward(s, 1, make_data(s, 1), &tiles), Error);  // no multiple of 8 columns
    s = problem_of(1, 24);
    CHECK_THROWS_AS(forward(s, 1, make_data(s, 1), &pair), Error);  // fewer rows than blocks
    s = problem_of(300, 2000);
    CHECK_THROWS_AS(cuda::pdhg_workspace_bytes(s, &pair), Error);
}

TEST_CASE("whatever mapping is chosen fits and gives the CPU's bits") {
    for (const auto& [height, width, solves] :
         std::vector<std::tuple<int, int, int>>{{1, 1, 1}, {48, 64, 1}, {40, 33, 2}, {16, 16, 9}}) {
        const PdhgProblem s = problem_of(height, width, MapKind::shared, solves);
        const Data data = make_data(s, 17);
        compare_with_cpu(s, 5, nullptr, data, solve(s, 5, data));
    }
}

#ifdef TVMAP_EMULATED

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
        CHECK_FALSE(mapping.neighbours);  // no guess prefers them
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

#endif
