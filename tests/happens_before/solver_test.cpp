// The solver's kernels in every mapping: forward with masks and from a state, the adjoint and its stretches.
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "kernels/solver/pdhg.h"
#include "tests/happens_before/checker.h"
#include "tests/solver/cuda_pdhg_mappings.h"
#include "tests/solver/pdhg_case.h"
#include "tests/support/device_buffer.h"

using namespace pdhg_case;

namespace {

struct DeviceState {
    DeviceBuffer<float> x, x_bar, p, q, sum_p;

    explicit DeviceState(std::int64_t pixels)
        : x(pixels), x_bar(pixels), p(pixels), q(2 * pixels), sum_p(pixels) {}
    PdhgState forward() const { return {x.data(), x_bar.data(), p.data(), q.data()}; }
    PdhgAdjointState adjoint() const { return {x.data(), x_bar.data(), p.data(), q.data(), sum_p.data()}; }
};

/// Forward in two stretches, and back.
void check(const PdhgProblem& s, int iterations, const PdhgMapping& mapping) {
    const Data data = make_data(s, 1);
    const std::int64_t pixels = s.solves * s.pixels();
    const DeviceBuffer<float> z(data.z), lambda(data.lambda), d_x(data.d_x), x(pixels), d_z(pixels);
    const DeviceBuffer<float> d_lambda(std::int64_t(data.lambda.size()));
    const DeviceBuffer<std::uint8_t> memory{std::int64_t(cuda::pdhg_workspace_bytes(s, &mapping))};
    const DeviceBuffer<std::uint8_t> masks{std::int64_t(cuda::pdhg_mask_bytes(s, iterations))};
    const DeviceState iterates(pixels), adjoint_iterates(pixels);
    const PdhgState state = iterates.forward();
    const PdhgAdjointState adjoint = adjoint_iterates.adjoint();
    const PdhgWorkspace workspace{memory.data(), memory.size()};

    const happens_before::Checker checker;
    try {
        for (const bool from_state : {false, true})
            cuda::pdhg_forward(
                test_stream(), s, iterations, {z.data(), lambda.data()},
                {.x = x.data(), .masks = masks.data(), .state = &state, .start_from_state = from_state},
                workspace, &mapping);
        for (const bool from_state : {false, true})
            cuda::pdhg_adjoint(
                test_stream(), s, iterations,
                {.masks = masks.data(), .d_x = d_x.data(), .state = &adjoint, .start_from_state = from_state},
                {.d_lambda = d_lambda.data(),
                 .d_z = d_z.data(),
                 .write = from_state ? Write::accumulate : Write::overwrite},
                workspace, &mapping);
    } catch (const Error&) {
        MESSAGE(checker.races());
        throw;
    }
    CAPTURE(name_of(mapping));
    CAPTURE(int(s.map));
    CHECK(checker.accesses() > std::size_t(pixels * iterations));
    CHECK(checker.races() == "");
}

}  // namespace

TEST_CASE("solver in tiles") {
    for (const int k : {1, 2, 4}) check(problem_of(24, 32), 5, tiles_of(9, 16, k));
    check(problem_of(20, 72, MapKind::separate), 3, tiles_of(19, 32, 2));  // a tile smaller than a rim
    check(problem_of(16, 40, MapKind::scalar, 3), 5, tiles_of(8, 16, 4));  // several solves
    check(problem_of(16, 32), 3, tiles_of(8, 16, 4));                      // no exchange
    check(problem_of(16, 104), 3, tiles_of(16, 32, 2));  // columns beyond a rim are no neighbour's
}

TEST_CASE("solver in clusters") {
    for (const int blocks : {1, 2, 4}) {
        check(problem_of(24, 32, MapKind::shared, 2), 5, cluster_of(blocks));
        check(problem_of(37, 44, MapKind::separate), 3, cluster_of(blocks));
    }
    check(problem_of(24, 32, MapKind::scalar), 3, cluster_of(4));
}

TEST_CASE("solver in clusters of neighbours") {
    for (const int blocks : {2, 4, 8}) {
        check(problem_of(24, 32, MapKind::shared, 2), 5, neighbours_of(blocks));
        check(problem_of(37, 44, MapKind::separate), 3, neighbours_of(blocks));
    }
    check(problem_of(24, 32, MapKind::scalar), 3, neighbours_of(4));
}

TEST_CASE("solver in global memory") {
    for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate})
        check(problem_of(24, 36, map, 2), 3, global);
}
