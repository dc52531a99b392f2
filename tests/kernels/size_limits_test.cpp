// Sizes beyond 32 bits are counted, and beyond 64 refused: by the configuration with the key's name, else by whoever
// multiplies.
#include <doctest/doctest.h>

#include <climits>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/config/equally_spaced.h"
#include "engine/graph/algorithms.h"
#include "engine/graph/denoise_with_steps.h"
#include "engine/graph/operations.h"
#include "engine/solver/search.h"
#include "engine/unrolled/unrolled_solver.h"
#include "kernels/base/error.h"
#include "tests/support/refusal.h"

namespace {

using namespace tvmap;

/// A backend that computes nothing and has no memory: it notes how many bytes are cleared and copied.
class NotingBackend final : public Backend {
  public:
    std::vector<std::int64_t> copied_floats;
    std::vector<std::size_t> cleared_bytes;

    std::string name() const override { return "noting"; }
    std::string description() const override { return name(); }
    std::string algorithm_key() const override { return name(); }
    MachinePeak measure_peak() override { return {}; }
    void* allocate(std::size_t) override { return nullptr; }
    void release(void*, std::size_t) noexcept override {}
    void* allocate_host(std::size_t) override { return nullptr; }
    void release_host(void*, std::size_t) noexcept override {}
    void upload(void*, const void*, std::size_t) override {}
    void download(void* host, const void*, std::size_t bytes) override {
        std::fill_n(static_cast<char*>(host), bytes, 0);
    }
    void clear(void*, std::size_t bytes) override { cleared_bytes.push_back(bytes); }
    void copy(float*, const float*, std::int64_t floats) override { copied_floats.push_back(floats); }
    void copy(ConstView, View) override {}
    void axpy(float, ConstView, View) override {}
    void dot(ConstView, ConstView, double*) override {}
    void fill(View x, float) override {
        cleared_bytes.push_back(sizeof(float) * std::size_t(x.shape.size()));
    }
    void find_not_finite(const float*, std::int64_t, std::uint32_t*) override {}
    void synchronise() override {}
    std::unique_ptr<Recording> record(std::function<void()>) override { return nullptr; }
    bool separate_memory() const override { return true; }
    std::optional<std::size_t> memory_in_use() const override { return 0; }
    std::size_t memory_free() const override { return 0; }
    int channel_block(int) const override { return 1; }
    std::unique_ptr<Convolution> convolution(const ConvolutionProblem&, const std::string&) override {
        return nullptr;
    }
    std::size_t pdhg_mask_bytes(const PdhgProblem& p, int iterations) const override {
        return cpu::pdhg_mask_bytes(p, iterations);
    }
    std::size_t pdhg_workspace_bytes(const PdhgProblem&) const override { return 64; }
    void pdhg_forward(const PdhgProblem&, int, const PdhgInput&, const PdhgOutput&,
                      const PdhgWorkspace&) override {}
    void pdhg_adjoint(const PdhgProblem&, int, const PdhgAdjoint&, const PdhgDerivatives&,
                      const PdhgWorkspace&) override {}
    void pdhg_settle(int, const double*, const double*, double, int, PdhgSettling*) override {}
    std::size_t pdhg_step_gradients_workspace_bytes(const PdhgProblem&) const override { return 64; }
    void pdhg_step_gradients(const PdhgProblem&, const PdhgStep&, double*, const PdhgWorkspace&) override {}
    void data_to_image(const SolverProblem&, const float*, const float*, float*) override {}
    void image_to_data(const SolverProblem&, const float*, const float*, float*, Write) override {}
    void solver_forward(const SolverProblem&, int, const SolverInput&, const PdhgOutput&,
                        const PdhgWorkspace&) override {}
    void solver_adjoint(const SolverProblem&, int, const float*, const PdhgAdjoint&, const SolverDerivatives&,
                        const PdhgWorkspace&) override {}
    void adam_step(const Adam&, std::int64_t, float*, const float*, float*, float*) override {}
    void adam_step(const Schedule&, std::int64_t, float*, const float*, float*, float*) override {}
    void make_batch(std::uint64_t, const TrainingImages&, const Schedule&, View, View) override {}
    void finish_step(const Schedule&, const double*) override {}
    void image_quality(const ComparedImages&, ImageQuality*) override {}
};

/// 900 million pixels: x, x̄, p and q are 4.5 thousand million floats.
PdhgProblem large_problem() {
    PdhgProblem problem;
    problem.height = problem.width = 30000;
    return problem;
}

}  // namespace

TEST_CASE("iterates of more than 2³¹ floats are copied and cleared whole") {
    NotingBackend backend;
    const PdhgProblem problem = large_problem();
    const std::int64_t pixels = problem.pixels(), floats = 5 * pixels;
    REQUIRE(state_floats(problem) == floats);  // pixels are a multiple of 16
    const Features image = dense_features(1, 1, problem.height, problem.width, 1);

    DenoiseWithStepsOperation learned(problem, 4, {1, 3, {}});
    Algorithms algorithms;
    learned.prepare(backend, algorithms, Graph(1), true);
    CHECK(learned.saved_bytes == sizeof(float) * std::size_t(floats));
    alignas(64) std::byte somewhere[64];
    float parameter = 0;
    Binding b;
    b.backend = &backend;
    b.inputs = {{nullptr, image}, {nullptr, image}};
    b.output = b.d_output = {nullptr, image};
    b.d_inputs = {{nullptr, image}, {nullptr, image}};
    b.d_input_write = {Write::overwrite, Write::overwrite};
    b.parameters = {&parameter, &parameter, &parameter};
    b.d_parameters = {&parameter, &parameter, &parameter};
    b.saved = somewhere;
    b.workspace = somewhere;
    learned.forward(b);
    CHECK(backend.copied_floats == std::vector<std::int64_t>{floats});
    backend.copied_floats.clear();
    learned.backward(b);
    // The adjoint starts from two copies of the gradient; then iterates and the adjoint's state are copied.
    REQUIRE(backend.copied_floats.size() > 4);
    for (std::size_t k = 0; k < backend.copied_floats.size(); ++k)
        CHECK(backend.copied_floats[k] == (k < 2 ? pixels : floats));
    REQUIRE(backend.cleared_bytes.size() == 2);
    CHECK(backend.cleared_bytes[1] == sizeof(float) * std::size_t(floats));

    backend.copied_floats.clear();
    PdhgProblem many = problem;
    many.solves = 200;  // 3.6e12 bytes: their count in pieces of 64 bytes exceeds 2³¹ too
    UnrolledSolver unrolled(backend, many, 3, *gradient_mode("stored"));
    unrolled.forward({}, nullptr, somewhere, somewhere);
    CHECK(backend.copied_floats == std::vector<std::int64_t>(2, 200 * floats));
}

TEST_CASE("checkpoint: any number of steps is cut where it needs least") {
    NotingBackend backend;
    PdhgProblem problem;
    problem.height = 16;
    problem.width = 20;
    const GradientMode mode = *gradient_mode("checkpoint");
    const auto needs = [&](int iterations) {
        const UnrolledSolver u(backend, problem, iterations, mode);
        return u.saved_bytes() + u.backward_workspace_bytes();
    };
    // What every cut would need, one after the other.
    const std::size_t plane = 16 * 20 * sizeof(float), state = 5 * plane, adjoint = state;
    for (const int iterations : {1, 2, 3, 40, 41, 997, 5000}) {
        std::size_t least = SIZE_MAX;
        for (int segment = 1; segment <= iterations; ++segment) {
            const std::size_t segments = std::size_t((iterations + segment - 1) / segment);
            least = std::min(least, (segments - 1) * state + backend.pdhg_mask_bytes(problem, segment) +
                                        plane + (segments > 1 ? state + adjoint + plane : 0) + 64);
        }
        CAPTURE(iterations);
        CHECK(needs(iterations) == least);
    }
    // Some √T, whatever T.
    const double grows = double(needs(INT_MAX)) / double(needs(INT_MAX / 4));
    CHECK(grows == doctest::Approx(2).epsilon(0.01));
}

TEST_CASE("what no memory holds is refused by whoever multiplies") {
    NotingBackend backend;
    PdhgProblem problem = large_problem();
    problem.height = problem.width = INT_MAX;
    CHECK(has(refusal([&] { cpu::pdhg_mask_bytes(problem, INT_MAX); }), "more than any memory holds"));
    CHECK(has(refusal([&] { cpu::pdhg_workspace_bytes(problem); }), "more than any memory holds"));
    for (const char* mode : {"masks", "stored", "checkpoint", "implicit"})
        CHECK(has(refusal([&] { UnrolledSolver(backend, problem, INT_MAX, *gradient_mode(mode)); }),
                  "more than any memory holds"));

    Graph graph(1);
    CHECK(has(refusal([&] { graph.input("wide", INT_MAX, INT_MAX, 2, 2); }), "tensor 'wide'"));
    Value x = graph.input("x", 1, 1, 1, 1);
    x = convolution(graph, x, "wide", INT_MAX, 1, 1);
    CHECK(
        has(refusal([&] { convolution(graph, x, "square", INT_MAX, 3, 1); }), "more than any memory holds"));
    CHECK(has(refusal([&] { concatenate(graph, {x, x}); }), "more channels than can be counted"));
    CHECK(has(refusal([] { equally_spaced(0, 1, INT_MAX); }), "give 1 to 1000000"));
}

TEST_CASE("the configuration names the key whose number is too large") {
    const auto refused = [](const std::string& setting) {
        return refusal([&] { parse_config("", "FILE", {setting}); });
    };
    CHECK(has(refused("network.channels=[32, 2000000000]"), "network.channels"));
    CHECK(has(refused("network.channels=[8193]"), "give 8192 or less"));
    CHECK(refused("network.channels=[8192]") == "accepted");
    CHECK(has(refused("network.outputs=2000000000"), "network.outputs"));
    CHECK(has(refused("data.size=2147483640"), "data.size"));
    CHECK(has(refused("evaluate.search.count=2147483647"), "evaluate.search.count"));
    CHECK(has(refused("train.batch=2147483647"), "train.batch"));
    const std::string many_steps = refusal([] {
        parse_config("", "FILE", {"train.batch=1000000", "train.crop=256", "solver.iterations=2147483647"});
    });
    CHECK(has(many_steps, "solver.iterations"));
    CHECK(refused("solver.iterations=2147483647") == "accepted");
}
