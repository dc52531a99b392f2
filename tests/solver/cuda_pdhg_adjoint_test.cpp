// The solver's adjoint in stretches and the gradient for its step sizes on the GPU: the CPU's bits, which
// tests/solver/pdhg_adjoint_test.cpp compares with the reference.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/gpu/gpu_runtime.h"
#include "kernels/solver/pdhg.h"
#include "tests/solver/cuda_pdhg_mappings.h"
#include "tests/solver/pdhg_case.h"
#include "tests/solver/pdhg_stretches.h"
#include "tests/support/device_buffer.h"

using namespace pdhg_case;

namespace {

using Bytes = std::vector<std::uint8_t>;

// A batch's iterates of either direction in device memory: x, x̄, p, q and, of the adjoint, ΣP̃.
struct DeviceState {
    DeviceBuffer<float> x, x_bar, p, q, sum_p;

    explicit DeviceState(const PdhgProblem& s)
        : x(std::int64_t(pixels_of(s))),
          x_bar(std::int64_t(pixels_of(s))),
          p(std::int64_t(pixels_of(s))),
          q(std::int64_t(2 * pixels_of(s))),
          sum_p(std::int64_t(pixels_of(s))) {}
    PdhgState forward() const { return {x.data(), x_bar.data(), p.data(), q.data()}; }
    PdhgAdjointState adjoint() const { return {x.data(), x_bar.data(), p.data(), q.data(), sum_p.data()}; }
    void upload(const Iterates& from) {
        x.upload(from.x), x_bar.upload(from.x_bar), p.upload(from.p), q.upload(from.q);
    }
    void upload(const AdjointIterates& from) {
        x.upload(from.y), x_bar.upload(from.y_bar), p.upload(from.p), q.upload(from.q);
        sum_p.upload(from.sum_p);
    }
    bool intact() const { return x.intact() && x_bar.intact() && p.intact() && q.intact() && sum_p.intact(); }
};

/// Forward and adjoint in stretches, bit for bit as on the CPU.
void compare_stretches(const PdhgProblem& s, const std::vector<int>& lengths, const Data& data,
                       const Stretches& expected, const PdhgMapping& mapping) {
    CAPTURE(s.height);
    CAPTURE(s.width);
    CAPTURE(int(s.map));
    CAPTURE(int(s.boundary));
    CAPTURE(name_of(mapping));
    const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, &mapping))};
    const DeviceBuffer<float> z(data.z), lambda(data.lambda), d_x(data.d_x);
    const DeviceBuffer<float> x{std::int64_t(pixels_of(s))}, d_z(Floats(pixels_of(s), 0.0f));
    const DeviceBuffer<float> d_lambda(Floats(data.lambda.size(), NAN));
    const DeviceState iterates(s), adjoint_iterates(s);
    const PdhgState state = iterates.forward();
    const PdhgAdjointState adjoint = adjoint_iterates.adjoint();
    std::vector<std::unique_ptr<DeviceBuffer<std::uint8_t>>> masks;
    for (const int length : lengths) {
        const auto bytes = std::int64_t(cuda::pdhg_mask_bytes(s, length));
        masks.push_back(std::make_unique<DeviceBuffer<std::uint8_t>>(bytes));
        cuda::pdhg_forward(test_stream(), s, length, {z.data(), lambda.data()},
                           {.x = x.data(),
                            .masks = masks.back()->data(),
                            .state = &state,
                            .start_from_state = masks.size() > 1},
                           {workspace.data(), workspace.size()}, &mapping);
    }
    CHECK(compared_bits(x.download(), expected.x));
    for (std::size_t n = lengths.size(); n-- > 0;) {
        const bool starts = n + 1 == lengths.size();
        cuda::pdhg_adjoint(test_stream(), s, lengths[n],
                           {.masks = masks[n]->data(),
                            .d_x = starts ? d_x.data() : nullptr,
                            .state = &adjoint,
                            .start_from_state = !starts},
                           {.d_lambda = d_lambda.data(),
                            .d_z = n == 0 ? d_z.data() : nullptr,
                            .write = starts ? Write::overwrite : Write::accumulate},
                           {workspace.data(), workspace.size()}, &mapping);
        CHECK(masks[n]->intact());
    }
    CHECK(compared_bits(d_lambda.download(), expected.d_lambda));
    CHECK(compared_bits(d_z.download(), expected.d_z));
    CHECK(compared_bits(adjoint_iterates.x.download(), expected.last.y));
    CHECK(compared_bits(adjoint_iterates.x_bar.download(), expected.last.y_bar));
    CHECK(compared_bits(adjoint_iterates.p.download(), expected.last.p));
    CHECK(compared_bits(adjoint_iterates.q.download(), expected.last.q));
    CHECK(compared_bits(adjoint_iterates.sum_p.download(), expected.last.sum_p));
    CHECK(iterates.intact());
    CHECK(adjoint_iterates.intact());
    CHECK(x.intact());
    CHECK(d_lambda.intact());
    CHECK(d_z.intact());
    CHECK(workspace.intact());
}

struct Gradient {
    Floats d_lambda, d_z;
};

Gradient on_cpu(const PdhgProblem& s, int iterations, const Bytes& masks, const Data& data, PdhgAdjoint how) {
    Gradient result{Floats(data.lambda.size()), Floats(pixels_of(s))};
    Guarded workspace(cpu::pdhg_workspace_bytes(s));
    how.masks = masks.data();
    how.d_x = data.d_x.data();
    cpu::pdhg_adjoint(s, iterations, how, {.d_lambda = result.d_lambda.data(), .d_z = result.d_z.data()},
                      workspace);
    return result;
}
Gradient on_gpu(const PdhgProblem& s, int iterations, const Bytes& masks, const Data& data, PdhgAdjoint how,
                const PdhgMapping& mapping) {
    const DeviceBuffer<std::uint8_t> bits(masks);
    const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, &mapping))};
    const DeviceBuffer<float> d_x(data.d_x), d_lambda(Floats(data.lambda.size(), NAN));
    const DeviceBuffer<float> d_z{std::int64_t(pixels_of(s))};
    how.masks = bits.data();
    how.d_x = d_x.data();
    cuda::pdhg_adjoint(test_stream(), s, iterations, how, {.d_lambda = d_lambda.data(), .d_z = d_z.data()},
                       {workspace.data(), workspace.size()}, &mapping);
    CHECK(bits.intact());
    CHECK(d_lambda.intact());
    CHECK(d_z.intact());
    return {d_lambda.download(), d_z.download()};
}

}  // namespace

TEST_CASE("stretches give the CPU's bits") {
    for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        PdhgProblem s = problem_of(18, 24, map, 2);
        s.boundary = map == MapKind::shared ? Boundary::neumann : Boundary::periodic;
        s.dual_start = map == MapKind::scalar ? DualStart::zero : DualStart::image;
        s.theta = 0.9f;
        const Data data = make_data(s, 5);
        for (const std::vector<int>& lengths : {std::vector<int>{5, 4, 6}, {1, 1, 1, 1}, {3, 0, 2}}) {
            const Stretches expected = solve_in_stretches(s, lengths, data);
            // k below, at and above a stretch's length.
            for (const PdhgMapping& mapping : available(
                     {global, cluster_of(2), neighbours_of(4), tiles_of(9, 16, 2), tiles_of(9, 16, 8)})) {
                compare_stretches(s, lengths, data, expected, mapping);
            }
        }
    }
}

TEST_CASE("one mask for all steps, and a stretch in the middle, give the CPU's bits") {
    for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        PdhgProblem s = problem_of(17, 24, map, 2);
        s.dual_start = DualStart::image;
        const Data data = make_data(s, 6);
        const Stretches run = solve_in_stretches(s, {7, 1}, data);
        for (const bool one_mask : {false, true}) {
            const PdhgAdjoint how{.one_mask = one_mask, .from_image = one_mask};
            const Bytes& masks = run.masks[one_mask ? 1 : 0];
            const Gradient expected = on_cpu(s, 7, masks, data, how);
            for (const PdhgMapping& mapping :
                 available({global, cluster_of(4), neighbours_of(4), tiles_of(17, 16, 3)})) {
                CAPTURE(name_of(mapping));
                const Gradient actual = on_gpu(s, 7, masks, data, how, mapping);
                CHECK(compared_bits(actual.d_lambda, expected.d_lambda));
                CHECK(compared_bits(actual.d_z, expected.d_z));
            }
        }
    }
}

TEST_CASE("Neumann is periodic with the map zero across the border, bit for bit") {
    PdhgProblem s = problem_of(19, 24, MapKind::separate);
    const Data neumann_data = make_data(s, 41);
    Data data = neumann_data;
    for (int j = 0; j < s.width; ++j) data.lambda[std::size_t((s.height - 1) * s.width + j)] = 0;
    for (int i = 0; i < s.height; ++i) data.lambda[std::size_t(s.pixels() + i * s.width + s.width - 1)] = 0;
    for (const PdhgMapping& mapping :
         available({global, cluster_of(4), neighbours_of(2), tiles_of(10, 16, 4)})) {
        CAPTURE(name_of(mapping));
        Floats x[2];
        Gradient d[2];
        const Data* given[] = {&data, &neumann_data};
        const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, &mapping))};
        const DeviceBuffer<std::uint8_t> masks{std::int64_t(cuda::pdhg_mask_bytes(s, 12))};
        for (const bool neumann : {false, true}) {
            s.boundary = neumann ? Boundary::neumann : Boundary::periodic;
            const DeviceBuffer<float> z(given[neumann]->z), lambda(given[neumann]->lambda);
            const DeviceBuffer<float> result{std::int64_t(pixels_of(s))};
            cuda::pdhg_forward(test_stream(), s, 12, {z.data(), lambda.data()},
                               {.x = result.data(), .masks = masks.data()},
                               {workspace.data(), workspace.size()}, &mapping);
            x[neumann] = result.download();
            d[neumann] = on_gpu(s, 12, masks.download(), data, {}, mapping);
        }
        for (std::size_t i = 0; i < data.lambda.size(); ++i) {
            if (data.lambda[i] == 0) CHECK(d[1].d_lambda[i] == 0);
            if (data.lambda[i] == 0) d[0].d_lambda[i] = d[1].d_lambda[i];
        }
        CHECK(compared_bits(x[1], x[0]));
        CHECK(compared_bits(d[1].d_z, d[0].d_z));
        CHECK(compared_bits(d[1].d_lambda, d[0].d_lambda));
    }
}

TEST_CASE("gradients for the steps are the CPU's") {
    // Rows shorter and longer than a warp, more rows than a block has, all kinds of border.
    for (const auto& [height, width] : std::vector<std::pair<int, int>>{{1, 1}, {3, 5}, {17, 70}}) {
        for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
            PdhgProblem s = problem_of(height, width, MapKind::shared, 3);
            s.boundary = boundary;
            s.solves_per_image = 2;
            const Data data = make_data(s, 12);
            // Any planes will do.
            Iterates before(s), after(s);
            AdjointIterates next(s), adjoint(s);
            std::mt19937 engine(3);
            std::normal_distribution<float> normal;
            for (Floats* plane : {&before.x, &before.x_bar, &before.p, &before.q, &after.x, &after.x_bar,
                                  &after.p, &after.q, &next.y, &next.y_bar, &next.p, &next.q, &next.sum_p,
                                  &adjoint.y, &adjoint.y_bar, &adjoint.p, &adjoint.q, &adjoint.sum_p}) {
                for (float& v : *plane) v = normal(engine);
            }
            const std::vector<double> start = {0.5, -2.0, 1e3};
            std::vector<double> expected = start;
            Guarded host(cpu::pdhg_step_gradients_workspace_bytes(s));
            cpu::pdhg_step_gradients(s,
                                     {.z = data.z.data(),
                                      .state = before.pointers(),
                                      .next = after.pointers(),
                                      .adjoint_next = next.pointers(),
                                      .adjoint = adjoint.pointers(),
                                      .next_sigma = 0.3f},
                                     expected.data(), host);
            REQUIRE(expected != start);

            const DeviceBuffer<float> z(data.z);
            DeviceState on_before(s), on_after(s), on_next(s), on_adjoint(s);
            on_before.upload(before), on_after.upload(after);
            on_next.upload(next), on_adjoint.upload(adjoint);
            const DeviceBuffer<double> gradient(start);
            const DeviceBuffer<std::uint8_t> workspace{
                std::int64_t(cuda::pdhg_step_gradients_workspace_bytes(s))};
            cuda::pdhg_step_gradients(test_stream(), s,
                                      {.z = z.data(),
                                       .state = on_before.forward(),
                                       .next = on_after.forward(),
                                       .adjoint_next = on_next.adjoint(),
                                       .adjoint = on_adjoint.adjoint(),
                                       .next_sigma = 0.3f},
                                      gradient.data(), {workspace.data(), workspace.size()});
            CHECK(compared_bits(gradient.download(), expected));
            CHECK(gradient.intact());
            CHECK(workspace.intact());
        }
    }
}

TEST_CASE("a start from no state, and steps that do not converge, are refused") {
    PdhgProblem s = problem_of(8, 16);
    const Data data = make_data(s, 1);
    const Bytes masks = solve(s, 1, data).masks;
    CHECK_THROWS_AS(on_gpu(s, 1, masks, data, {.start_from_state = true}, global), Error);
    s.tau = 0.5f;  // τσL² = 1.5
    CHECK_THROWS_AS(cuda::pdhg_step_gradients(test_stream(), s, {}, nullptr, {}), Error);
}

TEST_CASE("a workspace that is too small is refused") {
    const PdhgProblem s = problem_of(16, 32, MapKind::scalar, 3);
    for (const PdhgMapping& mapping : available({global, cluster_of(1), tiles_of(8, 16, 3)})) {
        CAPTURE(name_of(mapping));
        const std::size_t bytes = cuda::pdhg_workspace_bytes(s, &mapping);
        const DeviceBuffer<std::uint8_t> memory{std::int64_t(bytes)};
        const Bytes masks(1);
        for (const PdhgWorkspace& bad : {PdhgWorkspace{memory.data(), bytes - 1}, PdhgWorkspace{}}) {
            CHECK_THROWS_WITH_AS(cuda::pdhg_forward(test_stream(), s, 1, {}, {}, bad, &mapping),
                                 doctest::Contains("a workspace of"), Error);
            CHECK_THROWS_WITH_AS(
                cuda::pdhg_adjoint(test_stream(), s, 1, {.masks = masks.data()}, {}, bad, &mapping),
                doctest::Contains("a workspace of"), Error);
        }
        CHECK_THROWS_AS(cuda::pdhg_step_gradients(test_stream(), s, {}, nullptr, {memory.data(), 64}), Error);
    }
}

TEST_CASE("an adjoint that has settled leaves everything as it is, whatever the mapping") {
    for (const MapKind map : {MapKind::scalar, MapKind::separate}) {
        const PdhgProblem s = problem_of(16, 32, map, 3);
        const Data data = make_data(s, 4);
        const Bytes masks = solve(s, 2, data).masks;
        const DeviceBuffer<std::uint8_t> on_device(masks);
        const DeviceBuffer<float> d_x(data.d_x);
        // Settled where each solve's part is small enough, and for good; counted until then.
        const DeviceBuffer<double> norms(std::vector<double>{1e-4, 4e-6, 0, 1, 4e-2, 0});
        const DeviceBuffer<std::int32_t> settling(std::vector<std::int32_t>{0, 0});
        PdhgSettling on_host, *of_device = reinterpret_cast<PdhgSettling*>(settling.data());
        const std::vector<double> host_norms = norms.download();
        for (const auto& [tolerance, steps, settled] :
             {std::tuple{0.009, 32, 0}, {0.0101, 16, 1}, {1e-9, 8, 1}}) {
            cuda::pdhg_settle(test_stream(), 3, norms.data(), norms.data() + 3, tolerance, steps, of_device);
            cpu::pdhg_settle(3, host_norms.data(), host_norms.data() + 3, tolerance, steps, &on_host);
            CHECK(compared_bits(settling.download(),
                                std::vector<std::int32_t>{on_host.steps, on_host.settled}));
            CHECK(on_host.settled == settled);
        }
        CHECK(on_host.steps == 48);

        const Floats d_lambda_before(data.lambda.size(), 0.5f), d_z_before(data.d_x.size(), 0.25f);
        for (const PdhgMapping& mapping :
             available({global, cluster_of(1), cluster_of(2), neighbours_of(2), tiles_of(8, 16, 3)})) {
            CAPTURE(name_of(mapping));
            const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, &mapping))};
            const DeviceBuffer<float> d_lambda(d_lambda_before), d_z(d_z_before);
            const DeviceState iterates(s);
            const PdhgAdjointState state = iterates.adjoint();
            const Floats sentinels = iterates.x.download();
            cuda::pdhg_adjoint(
                test_stream(), s, 2,
                {.masks = on_device.data(), .d_x = d_x.data(), .state = &state, .settling = of_device},
                {.d_lambda = d_lambda.data(), .d_z = d_z.data(), .write = Write::accumulate},
                {workspace.data(), workspace.size()}, &mapping);
            CHECK(compared_bits(d_lambda.download(), d_lambda_before));
            CHECK(compared_bits(d_z.download(), d_z_before));
            CHECK(compared_bits(iterates.x.download(), sentinels));
        }
        Guarded workspace(cpu::pdhg_workspace_bytes(s));
        Floats d_lambda = d_lambda_before, d_z = d_z_before;
        cpu::pdhg_adjoint(s, 2, {.masks = masks.data(), .d_x = data.d_x.data(), .settling = &on_host},
                          {.d_lambda = d_lambda.data(), .d_z = d_z.data(), .write = Write::accumulate},
                          workspace);
        CHECK(same_bits(d_lambda, d_lambda_before));
        CHECK(same_bits(d_z, d_z_before));
    }
}

#ifdef TVMAP_EMULATED

TEST_CASE("stretches in any order of threads and blocks") {
    const PdhgProblem s = problem_of(18, 24);
    const Data data = make_data(s, 23);
    const std::vector<int> lengths = {2, 1, 3, 1};
    const Stretches expected = solve_in_stretches(s, lengths, data);
    for (unsigned seed = 0; seed < 6; ++seed) {
        CAPTURE(seed);
        emulation::set_seed(seed);
        for (const PdhgMapping& mapping :
             available({global, cluster_of(2), neighbours_of(2), tiles_of(9, 16, 3)})) {
            compare_stretches(s, lengths, data, expected, mapping);
        }
    }
    emulation::set_seed(1);
}

#endif
