// The family on CUDA: every member has the CPU's bits, whatever the order of threads; nothing is written beside results.
#include <doctest/doctest.h>

#include "kernels/base/error.h"
#include "tests/family/family_case.h"
#include "tests/support/device_buffer.h"

using namespace family_case;

namespace {

/// Empty arrays have no memory of their own.
struct OnDevice {
    DeviceBuffer<float> values;
    bool any;
    explicit OnDevice(const Floats& host) : values(host.empty() ? Floats(1) : host), any(!host.empty()) {}
    const float* data() const { return any ? values.data() : nullptr; }
};

struct DeviceState {
    DeviceBuffer<float> x, x_bar, p, q;
    explicit DeviceState(const State& host) : x(host.x), x_bar(host.x_bar), p(host.p), q(host.q) {}
    PdhgState pointers() const { return {x.data(), x_bar.data(), p.data(), q.data()}; }
    void check(const State& expected) const {
        CHECK(compared_bits(x.download(), expected.x));
        CHECK(compared_bits(x_bar.download(), expected.x_bar));
        CHECK(compared_bits(p.download(), expected.p));
        CHECK(compared_bits(q.download(), expected.q));
        for (const auto* buffer : {&x, &x_bar, &p, &q}) CHECK(buffer->intact());
    }
};

void compare(const Member& m, int iterations) {
    CAPTURE(m.name());
    const SolverProblem& s = m.problem;
    State state(s);
    const DeviceState device_state(state);
    const Result expected = solve(m, iterations, &state);

    const OnDevice z(m.z), data(m.data), gram(m.gram), start(m.start), lambda(m.lambda), d_x(m.d_x);
    const std::int64_t pixels = s.solves * s.pixels();
    const DeviceBuffer<float> b(s.images() * s.pixels()), x(pixels), d_lambda(Floats(m.lambda.size(), 0.5f)),
        d_b(Floats(m.d_x.size(), 0.25f)), d_start(Floats(m.d_x.size(), 2.0f)), d_z(s.solves * s.data_size());
    const DeviceBuffer<std::uint8_t> masks{std::int64_t(solver_mask_bytes(s, iterations))},
        memory{std::int64_t(solver_workspace_bytes(s))};
    const PdhgWorkspace workspace{memory.data(), memory.size()};

    cuda::data_to_image(test_stream(), s, data.data(), z.data(), b.data());
    CHECK(compared_bits(b.download(), m.b));
    const SolverInput input{b.data(), s.own_start ? start.data() : nullptr, lambda.data(), gram.data()};
    const PdhgState at = device_state.pointers();
    cuda::solver_forward(test_stream(), s, iterations, input,
                         {.x = x.data(), .masks = masks.data(), .state = &at}, workspace);
    CHECK(compared_bits(x.download(), expected.x));
    Bytes bits = masks.download();
    bits.resize(std::size_t(pixels * iterations));  // what is behind them is arbitrary
    CHECK(compared_bits(bits, Bytes(expected.masks.begin(), expected.masks.begin() + pixels * iterations)));
    device_state.check(state);

    // In two stretches, with the gradients added to what is there, on both.
    State adjoint(s);
    const DeviceState device_adjoint(adjoint);
    Floats sum(m.d_x.size()), expected_lambda(m.lambda.size(), 0.5f), expected_b(m.d_x.size(), 0.25f),
        expected_start(m.d_x.size(), 2.0f), expected_z(std::size_t(s.solves * s.data_size()));
    const DeviceBuffer<float> device_sum(sum);
    Guarded host_workspace(solver_workspace_bytes(s));
    for (const bool first : {true, false}) {
        const PdhgAdjointState host{adjoint.x.data(), adjoint.x_bar.data(), adjoint.p.data(),
                                    adjoint.q.data(), sum.data()},
            device{device_adjoint.x.data(), device_adjoint.x_bar.data(), device_adjoint.p.data(),
                   device_adjoint.q.data(), device_sum.data()};
        PdhgAdjoint how{.masks = expected.masks.data(),
                        .d_x = m.d_x.data(),
                        .state = &host,
                        .start_from_state = !first,
                        .one_mask = true,
                        .from_image = !first};
        cpu::solver_adjoint(s, 2, m.input().gram, how,
                            {.d_lambda = expected_lambda.data(),
                             .d_b = first ? nullptr : expected_b.data(),
                             .d_start = expected_start.data(),
                             .write = Write::accumulate},
                            host_workspace);
        how.masks = masks.data();
        how.d_x = d_x.data();
        how.state = &device;
        cuda::solver_adjoint(test_stream(), s, 2, gram.data(), how,
                             {.d_lambda = d_lambda.data(),
                              .d_b = first ? nullptr : d_b.data(),
                              .d_start = d_start.data(),
                              .write = Write::accumulate},
                             workspace);
    }
    CHECK(compared_bits(d_lambda.download(), expected_lambda));
    CHECK(compared_bits(d_b.download(), expected_b));
    CHECK(compared_bits(d_start.download(), expected_start));
    device_adjoint.check(adjoint);

    // In one call.
    cuda::solver_adjoint(
        test_stream(), s, iterations, gram.data(), {.masks = masks.data(), .d_x = d_x.data()},
        {.d_lambda = d_lambda.data(), .d_b = d_b.data(), .d_start = s.own_start ? d_start.data() : nullptr},
        workspace);
    CHECK(compared_bits(d_lambda.download(), expected.d_lambda));
    CHECK(compared_bits(d_b.download(), expected.d_b));
    if (s.own_start) CHECK(compared_bits(d_start.download(), expected.d_start));
    cuda::image_to_data(test_stream(), s, data.data(), d_b.data(), d_z.data(), Write::overwrite);
    cpu::image_to_data(s, m.data.data(), expected.d_b.data(), expected_z.data(), Write::overwrite);
    CHECK(compared_bits(d_z.download(), expected_z));
    for (const auto* buffer : {&b, &x, &d_lambda, &d_b, &d_start, &d_z, &device_sum}) CHECK(buffer->intact());
    CHECK(masks.intact());
    CHECK(memory.intact());
}

}  // namespace

TEST_CASE("every member has the CPU's bits") {
    for (const Member& m : members(91)) compare(m, 7);
}

TEST_CASE("every map and border of every regulariser has the CPU's bits, on small sizes too") {
    for (const Regulariser r : regularisers)
        for (const MapKind map : map_kinds)
            for (const Boundary boundary : boundaries)
                for (const auto& [height, width] : {std::pair{5, 7}, {1, 1}, {2, 3}, {1, 300}})
                    compare(member(problem_of(r, DataTerm::identity, map, boundary, height, width), 92), 3);
}

TEST_CASE("an adjoint that has settled leaves everything as it is") {
    for (const Member& m : members(93)) {
        CAPTURE(m.name());
        const SolverProblem& s = m.problem;
        const OnDevice gram(m.gram), d_x(m.d_x);
        const DeviceBuffer<std::uint8_t> masks(Bytes(solver_mask_bytes(s, 1), 0)),
            memory{std::int64_t(solver_workspace_bytes(s))};
        const DeviceBuffer<std::int32_t> settling(std::vector<std::int32_t>{4, 1});
        const DeviceBuffer<float> d_lambda(m.lambda), d_b(m.d_x);
        const DeviceState state{State(s)};
        const PdhgAdjointState at{state.x.data(), state.x_bar.data(), state.p.data(), state.q.data(),
                                  nullptr};
        cuda::solver_adjoint(test_stream(), s, 1, gram.data(),
                             {.masks = masks.data(),
                              .d_x = d_x.data(),
                              .state = &at,
                              .settling = reinterpret_cast<const PdhgSettling*>(settling.data())},
                             {.d_lambda = d_lambda.data(), .d_b = d_b.data(), .write = Write::accumulate},
                             {memory.data(), memory.size()});
        CHECK(compared_bits(d_lambda.download(), m.lambda));
        CHECK(compared_bits(d_b.download(), m.d_x));
        state.check(State(s));
    }
}

TEST_CASE("wrong calls are refused before anything is launched") {
    const Member m = members(94)[2];
    const DeviceBuffer<std::uint8_t> memory{std::int64_t(solver_workspace_bytes(m.problem))};
    CHECK_THROWS_WITH_AS(
        cuda::solver_forward(test_stream(), m.problem, 1, m.input(), {}, {memory.data(), memory.size() - 64}),
        doctest::Contains("a workspace of"), Error);
    CHECK_THROWS_WITH_AS(cuda::solver_adjoint(test_stream(), m.problem, 1, m.input().gram, {}, {},
                                              {memory.data(), memory.size()}),
                         doctest::Contains("no masks"), Error);
    CHECK(memory.untouched());
}

#ifdef TVMAP_EMULATED

TEST_CASE("in any order of threads and blocks") {
    for (unsigned seed = 0; seed < 3; ++seed) {
        emulation::set_seed(seed);
        for (const Member& m : members(95)) compare(m, 2);
    }
    emulation::set_seed(1);
}

#endif
