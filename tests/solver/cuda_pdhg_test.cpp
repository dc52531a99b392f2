// The total-variation solver on the GPU: every mapping gives the CPU's bits, and the reference's values.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/gpu/gpu_runtime.h"
#include "kernels/solver/pdhg.h"
#include "tests/reference/pdhg.h"
#include "tests/solver/cuda_pdhg_case.h"

using namespace pdhg_case;

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
    cpu::pdhg_adjoint(s, iterations, {.masks = last.data(), .d_x = data.d_x.data()},
                      {.d_lambda = d_lambda.data()}, workspace);
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
            cuda::pdhg_forward(test_stream(), s, iterations, {z.data(), lambda.data()},
                               {.x = x.data(), .masks = masks.data()}, {workspace.data(), workspace.size()},
                               &mapping);
            cuda::pdhg_adjoint(test_stream(), s, iterations, {.masks = masks.data(), .d_x = d_x.data()},
                               {.d_lambda = d_lambda.data()}, {workspace.data(), workspace.size()}, &mapping);
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
    CHECK_THROWS_AS(cuda::pdhg_adjoint(test_stream(), s, 1, {}, {}, {}), Error);
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
