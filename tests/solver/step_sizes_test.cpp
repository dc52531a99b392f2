// Learned steps of the solver: they cannot leave the stable region, their gradients are those of finite
// differences in double, training uses them, and a trained model keeps them.
#include "engine/unrolled/step_sizes.h"
#include "engine/config/solver_problem.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <cmath>
#include <limits>
#include <random>

#include "engine/files/file.h"
#include "engine/graph/operations.h"
#include "engine/model/denoiser.h"
#include "engine/pictures/image.h"
#include "engine/training/trainer.h"
#include "kernels/base/error.h"
#include "kernels/base/threads.h"
#include "tests/solver/step_sizes_case.h"
#include "tests/support/refusal.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;
using namespace tvmap::tests;

namespace {

PerStepKind<std::vector<float>> all_equal(std::size_t count, float s) {
    const std::vector<float> values(count, s);
    return {values, values, values};
}

double inner(const Doubles& a, const Doubles& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

}  // namespace

TEST_CASE("whatever the parameters are, the steps are within the stable region") {
    std::mt19937 generator(1);
    std::vector<float> values{0.0f, -0.0f, 1e-40f, 10.0f, -10.0f, 15.9f, 16.1f, 88.0f, -88.0f, 1e4f, -1e4f};
    for (const float sign : {1.0f, -1.0f}) values.push_back(sign * std::numeric_limits<float>::max());
    for (int i = 0; i < 2000; ++i)
        values.push_back(float(random_values(generator, 1, -1, 1)[0] * std::pow(10, i % 6 - 2)));
    for (const double norm :
         {3.0, std::sqrt(13.0), 4.0, pdhg_operator_norm(7, 9, Boundary::periodic), 1.0 + 1e-12, 250.0}) {
        CAPTURE(norm);
        const int count = int(values.size());
        std::vector<float> reversed(values.rbegin(), values.rend());
        const StepSizes steps({count, norm, {}}, {values, reversed, values});
        for (int k = 0; k < count; ++k) {
            CAPTURE(values[k]);
            const PdhgProblem at = steps.at({}, k), other = steps.at({}, count - 1 - k);
            REQUIRE(at.tau > 0);
            REQUIRE(at.theta > 0);
            REQUIRE(at.theta <= 1);
            REQUIRE(at.tau == other.sigma);  // the same formula
            REQUIRE(double(at.tau) * at.sigma * norm * norm <= 1);
            // Both steps at their largest.
            REQUIRE(double(at.tau) * other.sigma * norm * norm <= 1);
            if (std::abs(values[k]) < 16) {  // rounded to float
                const double sigmoid = 1 / (1 + std::exp(-double(values[k])));
                REQUIRE(at.tau == doctest::Approx(sigmoid / norm).epsilon(6e-8));
                REQUIRE(at.theta == doctest::Approx(sigmoid).epsilon(6e-8));
            }
        }
    }
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        auto raw = all_equal(1, 1.0f);
        raw[1][0] = bad;
        CHECK(refusal([&] { StepSizes({1, 3, {}}, raw); }).find("solver.step.sigma") == 0);
    }
}

TEST_CASE("steps start from the configured ones, or as near as a sigmoid comes") {
    SolverConfig solver;
    solver.train_steps = TrainSteps::per_step;
    solver.iterations = 5;
    StepTraining training = step_training(solver, pdhg_problem(solver, {}, 1, 8, 8));
    CHECK(training.count == 5);
    CHECK(training.norm == 3);
    CHECK(training.start == PerStepKind<float>{10, 10, 10});
    CHECK(StepSizes(training, all_equal(5, 10)).at({}, 4).tau == doctest::Approx(1.0 / 3).epsilon(1e-4));

    solver.train_steps = TrainSteps::shared;
    solver.norm_auto = true;
    solver.tau = 0.25;
    solver.sigma = 0.125;
    solver.theta = 0.9;
    solver.boundary = Boundary::neumann;
    training = step_training(solver, pdhg_problem(solver, {}, 1, 7, 9));
    CHECK(training.count == 1);
    CHECK(training.norm == pdhg_operator_norm(7, 9, Boundary::neumann));
    const PdhgProblem start =
        StepSizes(training, {std::vector{training.start[0]}, {training.start[1]}, {training.start[2]}})
            .at({}, 0);
    // s is rounded to float, up to 2.4e-7 of it, and so changes the step by less.
    CHECK(start.tau == doctest::Approx(0.25).epsilon(1e-6));
    CHECK(start.sigma == doctest::Approx(0.125).epsilon(1e-6));
    CHECK(start.theta == doctest::Approx(0.9).epsilon(1e-6));

    solver.theta = 0;
    CHECK(step_training(solver, pdhg_problem(solver, {}, 1, 7, 9)).start[2] == -10);

    // L is the configured norm, unless that is less than the operator's.
    solver.norm_auto = false;
    for (const auto& [configured, expected] :
         {std::pair{std::sqrt(13.0), std::sqrt(13.0)}, {2.0, pdhg_operator_norm(7, 9, Boundary::neumann)}}) {
        solver.norm = configured;
        CHECK(step_training(solver, pdhg_problem(solver, {}, 1, 7, 9)).norm == expected);
    }
}

TEST_CASE("gradients for steps, map and image are those of finite differences") {
    const auto backend = make_backend("cpu");
    set_threads(2);
    StepsCase c;
    SUBCASE("one triple for each iteration") {}
    SUBCASE("one for all") { c.training.count = 1; }
    SUBCASE("batch, separate maps, Neumann, p0 = z") {
        c.images = 3;
        c.maps = 2;
        c.boundary = Boundary::neumann;
        c.dual_start = DualStart::image;
    }
    SUBCASE("another norm, odd sizes") {
        c.height = 5;
        c.width = 17;
        c.training.norm = std::sqrt(13.0);
    }
    SUBCASE("one iteration") { c.iterations = c.training.count = 1; }
    SUBCASE("two iterations") { c.iterations = c.training.count = 2; }
    SUBCASE("ten iterations, three triples") {
        c.iterations = 10;
        c.training.count = 3;
    }
    SUBCASE("more triples than iterations") { c.iterations = 4; }
    SUBCASE("used twice: all gradients add up") { c.passes = 2; }
    for (unsigned seed = 1; seed <= 3; ++seed) {
        CAPTURE(seed);
        c.fill(seed);
        const StepsOutcome outcome = run(*backend, c);
        // fp32 against double over a few iterations: some 1e-6 of gradients that are sums of both signs.
        constexpr double tolerance = 2e-5;
        CHECK(outcome.loss == doctest::Approx(c.loss()).epsilon(1e-6));
        for (std::size_t kind = 0; kind < 3; ++kind) {
            CAPTURE(step_parameter_names[kind]);
            Doubles expected;
            for (int k = 0; k < c.training.count; ++k) {
                Doubles one(c.training.count, 0.0);
                one[k] = 1;
                expected.push_back(c.slope(c.raw[kind], one));
            }
            if (norm(expected) <
                1e-9)  // θ of the last iteration has no effect, σ of the first (q, p = 0) has
                CHECK(norm(outcome.d_raw[kind]) < 1e-9);
            else
                CHECK(difference(outcome.d_raw[kind], expected) < tolerance);
        }
        std::mt19937 generator(seed);
        for (const auto& [values, gradient] :
             {std::pair{&c.z, &outcome.d_z}, {&c.lambda, &outcome.d_lambda}}) {
            const Doubles direction = random_values(generator, values->size(), -1, 1);
            const double scale = norm(direction) * norm(*gradient);
            CHECK(std::abs(c.slope(*values, direction) - inner(*gradient, direction)) < tolerance * scale);
        }
    }
}

TEST_CASE("with equal steps it is the solver with fixed ones") {
    const auto backend = make_backend("cpu");
    for (const int iterations : {1, 2, 9, 16, 17}) {
        CAPTURE(iterations);
        StepsCase c;
        c.height = 24;
        c.width = 31;
        c.images = 2;
        c.iterations = iterations;
        c.fill(7);
        StepsOutcome outcomes[2];
        for (const bool shared : {true, false}) {
            const int count = c.training.count = shared ? 1 : iterations;
            c.raw = {Doubles(count, 1.5), Doubles(count, 0.5), Doubles(count, 2.0)};
            outcomes[shared ? 0 : 1] = run(*backend, c);
        }
        const PdhgProblem steps = StepSizes({1, 3, {}}, {std::vector{1.5f}, {0.5f}, {2.0f}}).at({}, 0);
        Graph graph(1);
        const Value z = graph.input("z", 2, 1, 24, 31, true),
                    lambda = graph.input("lambda", 2, 1, 24, 31, true),
                    target = graph.input("target", 2, 1, 24, 31);
        const Value x = denoise(graph, z, lambda, steps, iterations);
        graph.keep(x);
        loss(graph, x, target, LossKind::mse);
        Algorithms algorithms;
        Plan plan(std::move(graph), *backend, algorithms, true);
        Parameters none(*backend, {}, true);
        const Arena arena(*backend, plan.arena_bytes());
        plan.bind(arena, none);
        set_input(plan, z, c.z);
        set_input(plan, lambda, c.lambda);
        set_input(plan, target, c.target);
        plan.forward();
        plan.backward();
        for (const StepsOutcome& outcome : outcomes) {
            CHECK(outcome.x == to_float(read(*backend, plan.view(x))));
            // Sums of an iteration each, added up in another order.
            CHECK(difference(outcome.d_lambda, read(*backend, plan.gradient(lambda))) < 1e-6);
            CHECK(difference(outcome.d_z, read(*backend, plan.gradient(z))) < 1e-6);
        }
        // What one triple for all gets is the sum over the iterations.
        for (std::size_t kind = 0; kind < 3; ++kind) {
            double sum = 0;
            for (double d : outcomes[1].d_raw[kind]) sum += d;
            CHECK(outcomes[0].d_raw[kind][0] == doctest::Approx(sum).epsilon(1e-5));
        }
    }
}

TEST_CASE("learning the steps alone lowers the loss and stays in the stable region") {
    const auto backend = make_backend("cpu");
    StepsCase c;
    c.height = c.width = 16;
    c.iterations = 8;
    c.fill(3);
    // The image is what the solver would reach by itself after many iterations: fast steps come near it.
    reference::Pdhg converged{16, 16, 3000};
    Doubles map = c.lambda;
    map.insert(map.end(), c.lambda.begin(), c.lambda.end());
    c.target = reference::pdhg_forward(converged, c.z, map).x;
    for (const int count : {1, 8}) {
        CAPTURE(count);
        c.training.count = count;
        c.raw = {Doubles(count, -1), Doubles(count, -1), Doubles(count, 0)};
        double first = 0, last = 0;
        for (int step = 0; step < 60; ++step) {
            const StepsOutcome outcome = run(*backend, c);
            (step == 0 ? first : last) = outcome.loss;
            // The sign of the gradient, as Adam's first step does it.
            for (std::size_t kind = 0; kind < 3; ++kind)
                for (int k = 0; k < count; ++k)
                    c.raw[kind][k] -= 0.1 * std::tanh(1e6 * outcome.d_raw[kind][k]);
            PerStepKind<std::vector<float>> raw;
            for (std::size_t kind = 0; kind < 3; ++kind) raw[kind] = to_float(c.raw[kind]);
            const StepSizes steps(c.training, raw);
            for (int k = 0; k < count; ++k)
                CHECK(double(steps.at({}, k).tau) * steps.at({}, k).sigma * 9 <= 1);
        }
        MESSAGE("distance from the limit after 8 iterations, " << count << " triples: " << first << " -> "
                                                               << last);
        CHECK(last < 0.2 * first);
    }
}

namespace {

/// Pictures and a small network whose steps are learned.
struct Workshop {
    TemporaryFolder folder;
    Config config;

    explicit Workshop(TrainSteps kind) {
        set_threads(1);
        ::setenv("XDG_CACHE_HOME", (folder / "cache").c_str(), 1);
        for (const std::string name : {"train", "val"}) {
            make_folder(folder / name);
            for (int k = 0; k < 4; ++k) {
                Picture picture{24, 24, 1, 8, std::vector<float>(24 * 24)};
                for (int i = 0; i < 24; ++i)
                    for (int j = 0; j < 24; ++j)
                        picture.values[i * 24 + j] = float((i / 6 * 5 + j / 8 * 3 + k * 7) % 11) / 10.0f;
                write_png(folder / (name + "/image_" + std::to_string(k) + ".png"), picture);
            }
        }
        config.data.train = folder / "train";
        config.data.val = folder / "val";
        config.data.size = 24;
        config.data.limit = {4, 2, 1};
        config.network.channels = {4, 6};
        config.solver.iterations = 6;
        config.solver.train_steps = kind;
        config.solver.tau = config.solver.sigma = 0.2;
        config.solver.theta = 0.5;
        config.evaluate.iterations = 9;
        config.optimiser.rate = 1e-2;
        config.train.epochs = 3;
        config.train.batch = 2;
    }

    bool train(const std::string& run, bool resume = false, int stop_after = -1) const {
        std::atomic<bool> stop{stop_after == 0};
        Trainer trainer(config, folder / run, resume);
        int steps = 0;
        return trainer.run([&](const TrainReport&) { stop = ++steps == stop_after; }, stop);
    }
    std::string checkpoint(const std::string& run) const {
        return folder / (run + "/checkpoints/last.safetensors");
    }
    std::vector<float> stored(const std::string& run, const std::string& name) const {
        return read_safetensors(checkpoint(run)).tensors.at(name).values;
    }
};

}  // namespace

TEST_CASE("training with learned steps, interrupted after every step and resumed, gives the same bits") {
    for (const TrainSteps kind : {TrainSteps::shared, TrainSteps::per_step}) {
        CAPTURE(int(kind));
        Workshop w(kind);
        const std::size_t count = kind == TrainSteps::shared ? 1 : 6;
        CHECK(w.train("whole"));
        CHECK_FALSE(w.train("parts", false, 0));
        int processes = 1;
        while (!w.train("parts", true, 1)) REQUIRE(++processes < 20);
        CHECK(processes == 6);
        CHECK((read_file(w.checkpoint("whole")) == read_file(w.checkpoint("parts"))));

        const StepTraining start =
            step_training(w.config.solver, pdhg_problem(w.config.solver, w.config.map, 1, 24, 24));
        for (std::size_t i = 0; i < 3; ++i) {
            const std::string name = step_parameter_names[i];
            const std::vector<float> s = w.stored("whole", name);
            REQUIRE(s.size() == count);
            CHECK(w.stored("whole", "optimiser.m." + name).size() == count);
            for (std::size_t k = 0; k < count; ++k) {
                // Six steps of Adam at most 1e-2 each. (θ of the last iteration has no effect: it stays.)
                CHECK(std::abs(s[k] - start.start[i]) <= 0.0601);
                CHECK((s[k] != start.start[i]) == (i < 2 || count == 1 || k + 1 < count));
            }
        }
    }
}

TEST_CASE("a trained model denoises with the steps it has learned, images of any size") {
    for (const TrainSteps kind : {TrainSteps::shared, TrainSteps::per_step}) {
        CAPTURE(int(kind));
        Workshop w(kind);
        CHECK(w.train("run"));
        const auto backend = make_backend("cpu");
        Algorithms algorithms;
        const Config config = checkpoint_config(w.checkpoint("run"));
        CHECK(config.solver.train_steps == kind);
        PerStepKind<Doubles> raw;
        for (std::size_t i = 0; i < 3; ++i) {
            const std::vector<float> s = w.stored("run", step_parameter_names[i]);
            raw[i] = {s.begin(), s.end()};
        }
        for (const auto& [height, width] : {std::pair{24, 20}, {13, 21}, {24, 24}}) {
            CAPTURE(width);
            Denoiser denoiser(*backend, algorithms, config, height, width);
            Parameters parameters(*backend, denoiser.graph().parameters(), false);
            read_weights(w.checkpoint("run"), config, parameters);
            const Arena arena(*backend, denoiser.arena_bytes());
            denoiser.bind(arena, parameters);
            std::mt19937 generator(5);
            const Doubles noisy = random_values(generator, std::size_t(height * width), 0, 1);
            std::vector<float> lambda(noisy.size()), denoised(noisy.size());
            denoiser.run(to_float(noisy).data(), lambda.data(), denoised.data());

            reference::Pdhg solver{height, width, 9};  // three more than in training: the last steps again
            solver.own_steps = reference_steps(raw, 3, 9);
            Doubles map(lambda.begin(), lambda.end());
            map.insert(map.end(), lambda.begin(), lambda.end());
            const Doubles expected = reference::pdhg_forward(solver, noisy, map).x;
            // fp32 against double; other steps would show at 1e-2.
            CHECK(difference(Doubles(denoised.begin(), denoised.end()), expected) < 1e-5);
            solver.own_steps.clear();
            solver.tau = solver.sigma = 0.2, solver.theta = 0.5;
            CHECK(difference(reference::pdhg_forward(solver, noisy, map).x, expected) > 1e-3);
        }
    }
}

TEST_CASE("what learned steps cannot be is refused") {
    const auto refused = [](const std::string& solver) {
        return refusal([&] { parse_config("solver: {" + solver + "}", "file"); });
    };
    CHECK(refused("train_steps: shared") == "accepted");
    CHECK(refused("train_steps: per_step, gradient: checkpoint") == "accepted");
    CHECK(refused("train_steps: some").find("none | shared | per_step") != std::string::npos);
    CHECK(refused("tau: 0.5, sigma: 0.1") == "accepted");
    CHECK(refused("tau: 0.5, sigma: 0.1, train_steps: shared").find("solver.tau") != std::string::npos);
    CHECK(refused("tau: 0.1, sigma: 0.5, train_steps: shared").find("solver.sigma") != std::string::npos);
    CHECK(refused("gradient: stored, train_steps: shared").find("solver.gradient") != std::string::npos);
    CHECK(refused("gradient: implicit, train_steps: shared").find("solver.gradient") != std::string::npos);
    Config config;
    config.solver.train_steps = TrainSteps::per_step;
    CHECK(parse_config(config.to_yaml(), "again").solver.train_steps == TrainSteps::per_step);

    // A checkpoint without steps, or with another number of them, is another model's.
    Workshop w(TrainSteps::per_step);
    CHECK(w.train("run"));
    const auto backend = make_backend("cpu");
    Algorithms algorithms;
    for (const auto& [kind, iterations, message] : {std::tuple{TrainSteps::none, 6, "solver.train_steps"},
                                                    {TrainSteps::per_step, 5, "solver.step.tau"}}) {
        Config other = w.config;
        other.solver.train_steps = kind;
        other.solver.iterations = iterations;
        Denoiser denoiser(*backend, algorithms, other, 24, 24);
        Parameters parameters(*backend, denoiser.graph().parameters(), false);
        CHECK(refusal([&] { read_weights(w.checkpoint("run"), other, parameters); }).find(message) !=
              std::string::npos);
    }
}
