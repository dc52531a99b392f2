// The solver's scratch memory: made for one number of threads and used under another.
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "engine/graph/operations.h"
#include "engine/model/denoiser.h"
#include "engine/unrolled/unrolled_solver.h"
#include "kernels/base/error.h"
#include "kernels/device_array.h"
#include "tests/solver/pdhg_case.h"
#include "tests/support/run_on.h"
#include "tests/training/training_steps_case.h"
#include "tests/unrolled/step_sizes_case.h"

namespace {

using namespace tvmap;
using namespace tvmap::tests;
using pdhg_case::Data, pdhg_case::Floats, pdhg_case::make_data, pdhg_case::problem_of;

Backend& backend() {
    static const std::unique_ptr<Backend> cpu = make_backend("cpu");
    return *cpu;
}

/// Memory with so much behind it that whatever 16 threads too many would touch is still seen.
class Roomy {
  public:
    explicit Roomy(std::size_t bytes)
        : bytes_(bytes), memory_(backend(), bytes + margin), marks_(memory_.size(), 0xA5) {
        memory_.upload(marks_.data(), marks_.size());
    }
    void* data() const { return memory_.data(); }
    bool intact() const {
        const auto* end = memory_.data() + bytes_;
        return std::all_of(end, end + margin, [](std::uint8_t byte) { return byte == 0xA5; });
    }

  private:
    static constexpr std::size_t margin = 1 << 20;
    std::size_t bytes_;
    DeviceArray<std::uint8_t> memory_;
    std::vector<std::uint8_t> marks_;
};

struct Gradient {
    Floats x, d_lambda, d_z;
    bool operator==(const Gradient&) const = default;
};

/// Planned under one number of threads, run under another.
Gradient run(const std::string& mode, int planned, int running) {
    const PdhgProblem s = problem_of(26, 19, MapKind::scalar, 11);
    const Data data = make_data(s, 3);
    auto on = std::make_unique<RunOn>(planned);
    UnrolledSolver solver(backend(), s, 300, *gradient_mode(mode));
    const Roomy saved(solver.saved_bytes()), forward(solver.forward_workspace_bytes()),
        backward(solver.backward_workspace_bytes());
    on.reset();
    on = std::make_unique<RunOn>(running);
    Gradient result{Floats(data.d_x.size()), Floats(data.lambda.size()), Floats(data.d_x.size())};
    const SolverInput input{.b = data.z.data(), .lambda = data.lambda.data()};
    solver.forward(input, result.x.data(), saved.data(), forward.data());
    solver.backward(saved.data(), input, data.d_x.data(),
                    {.d_lambda = result.d_lambda.data(), .d_b = result.d_z.data()}, backward.data());
    CHECK(saved.intact());
    CHECK(forward.intact());
    CHECK(backward.intact());
    return result;
}

/// The same of a plan, whose operations share one arena.
Doubles run_plan(bool learned, int planned, int running) {
    StepsCase c;
    c.images = 11;
    c.height = 26;
    c.width = 19;
    c.iterations = 5;
    c.training.count = 1;
    c.fill(7);
    auto on = std::make_unique<RunOn>(planned);
    Graph graph(1);
    const Value z = graph.input("z", c.images, 1, c.height, c.width, true),
                lambda = graph.input("lambda", c.images, c.maps, c.height, c.width, true),
                target = graph.input("target", c.images, 1, c.height, c.width),
                x = learned ? denoise_with_steps(graph, z, lambda, {}, c.iterations, c.training)
                            : denoise(graph, z, lambda, {}, c.iterations);
    loss(graph, x, target, LossKind::mse);
    Algorithms algorithms;
    Plan plan(std::move(graph), backend(), algorithms, true);
    Parameters parameters(backend(), plan.graph().parameters(), true);
    constexpr std::size_t margin = 1 << 20;
    const Arena arena(backend(), plan.arena_bytes() + margin);
    plan.bind(arena, parameters);
    poison(arena);
    parameters.set_host_weights(std::vector<float>(std::size_t(plan.graph().parameter_count()), 0.5f));
    for (const auto& [value, given] : {std::pair{z, &c.z}, {lambda, &c.lambda}, {target, &c.target}})
        set_input(plan, value, *given);
    on.reset();
    on = std::make_unique<RunOn>(running);
    plan.forward();
    plan.backward();
    const auto* end = static_cast<const std::uint8_t*>(arena.memory()) + plan.arena_bytes();
    CHECK(std::all_of(end, end + margin, [](std::uint8_t byte) { return byte == 0xff; }));
    Doubles result = read(backend(), plan.gradient(z));
    for (const double value : read(backend(), plan.gradient(lambda))) result.push_back(value);
    return result;
}

}  // namespace

TEST_CASE("planned under few threads, run under many, and the reverse: the same bits, nothing else touched") {
    for (const std::string mode : {"masks", "checkpoint", "truncated:4", "implicit"}) {
        CAPTURE(mode);
        const Gradient expected = run(mode, 2, 2);
        CHECK(run(mode, 2, 13) == expected);
        CHECK(run(mode, 1, 13) == expected);
        CHECK(run(mode, 13, 2) == expected);
    }
}

TEST_CASE("a plan likewise; what a denoiser needs is settled when it is made") {
    for (const bool learned : {false, true}) {
        CAPTURE(learned);
        CHECK(run_plan(learned, 2, 13) == run_plan(learned, 2, 2));
        CHECK(run_plan(learned, 13, 2) == run_plan(learned, 2, 2));
    }
    Config config;
    config.network.channels = {8, 8};
    Algorithms algorithms;
    const RunOn few(1);
    // Sides that must be padded: then the solver is no part of the plan.
    const Denoiser denoiser(backend(), algorithms, config, 1301, 667);
    const std::size_t bytes = denoiser.arena_bytes();
    const RunOn many(13);
    CHECK(denoiser.arena_bytes() == bytes);
}

TEST_CASE("a workspace that is too small for one thread, or lies askew, is refused") {
    PdhgProblem s = problem_of(9, 14, MapKind::shared, 3);
    const Data data = make_data(s, 1);
    std::size_t one_thread = 0;
    {
        const RunOn one(1);
        one_thread = cpu::pdhg_workspace_bytes(s);
    }
    const RunOn four(4);
    CHECK(cpu::pdhg_workspace_bytes(s) > one_thread);
    const Roomy memory(cpu::pdhg_workspace_bytes(s)), masks(cpu::pdhg_mask_bytes(s, 5));
    auto* bits = static_cast<std::uint8_t*>(masks.data());
    Floats x(data.d_x.size());
    const auto forward = [&](const PdhgWorkspace& workspace) {
        cpu::pdhg_forward(s, 5, {data.z.data(), data.lambda.data()}, {.x = x.data(), .masks = bits},
                          workspace);
    };
    const auto adjoint = [&](const PdhgWorkspace& workspace) {
        cpu::pdhg_adjoint(s, 5, {.masks = bits, .d_x = data.d_x.data()}, {.d_z = x.data()}, workspace);
    };
    forward({memory.data(), one_thread});
    adjoint({memory.data(), one_thread});
    for (const PdhgWorkspace& bad :
         {PdhgWorkspace{memory.data(), one_thread - 1}, PdhgWorkspace{nullptr, one_thread}, PdhgWorkspace{},
          PdhgWorkspace{static_cast<std::byte*>(memory.data()) + 4, one_thread + 60}}) {
        CHECK_THROWS_AS(forward(bad), Error);
        CHECK_THROWS_AS(adjoint(bad), Error);
        CHECK_THROWS_AS(
            cpu::pdhg_step_gradients(s, {}, nullptr, {bad.memory, bad.memory ? std::size_t(1) : bad.bytes}),
            Error);
    }
}
