// Learned steps of the solver: they cannot leave the stable region, their gradients are those of finite
// differences in double, and to learn them alone lowers the loss.
#include "engine/unrolled/step_sizes.h"
#include "engine/config/solver_problem.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

#include "engine/graph/operations.h"
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "tests/support/refusal.h"
#include "tests/unrolled/step_sizes_case.h"

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
