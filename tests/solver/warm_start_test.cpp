// Going on from iterates of another problem: the answer is that of this problem, its gap the answer's own, and what no
// run can have left is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/files/safetensors.h"
#include "engine/solver/solver.h"
#include "engine/solver/solver_state.h"
#include "kernels/base/error.h"
#include "tests/reference/pdhg.h"
#include "tests/support/temporary_folder.h"

namespace {

using namespace tvmap;

constexpr int height = 12, width = 15, pixels = height * width;

Backend& backend() {
    static const std::unique_ptr<Backend> cpu = make_backend("cpu");
    return *cpu;
}

ImageStack images(int n) {
    ImageStack stack{n, height, width, {}};
    for (int i = 0; i < n * pixels; ++i)
        stack.values.push_back(
            float((i / 7 % 3) * 0.3 + 0.2 * std::sin(12.9898 * i + 78.233 * std::cos(3.1 * i))));
    return stack;
}

Map scalar(float value) { return {MapKind::scalar, {value}}; }

/// A map around a value, 0 here and there.
Map map_of(MapKind kind, double value) {
    Map lambda{kind, {}};
    for (int i = 0; i < (kind == MapKind::separate ? 2 : 1) * pixels; ++i)
        lambda.values.push_back(i % 11 == 0 ? 0.0f : float(value * (1 + 0.5 * std::cos(1.7 * i))));
    return lambda;
}

SolverConfig config(Boundary boundary, int iterations = 20000) {
    SolverConfig solver;
    solver.boundary = boundary;
    solver.iterations = iterations;
    return solver;
}

SolveOptions to_gap(double tolerance, SolverState* state = nullptr) {
    SolveOptions options;
    options.watch_gap = true;
    options.tolerance = tolerance;
    options.state = state;
    return options;
}

/// P(x) of one image, in double.
double primal(const reference::Pdhg& s, const float* x, const float* z, const Map& lambda) {
    const reference::Plane image(x, x + pixels), differences = reference::gradient(s, image);
    double sum = 0;
    for (int i = 0; i < pixels; ++i) sum += 0.5 * std::pow(double(x[i]) - z[i], 2);
    for (int i = 0; i < 2 * pixels; ++i)
        sum += std::abs(differences[i]) * lambda.values[lambda.kind == MapKind::scalar   ? 0
                                                        : lambda.kind == MapKind::shared ? i % pixels
                                                                                         : i];
    return sum;
}

/// Both are near the minimum x*, of which ½‖x − x*‖² ≤ P(x) − P(x*) ≤ gap.
void check_answer(const Solution& solution, const ImageStack& z, const Map& lambda, Boundary boundary) {
    const Solution cold = solve(backend(), config(boundary), z, lambda, to_gap(1e-7));
    REQUIRE(cold.reached);
    reference::Pdhg s{height, width, 0};
    s.neumann = boundary == Boundary::neumann;
    for (int n = 0; n < z.images; ++n) {
        CAPTURE(n);
        double squared = 0;
        for (int i = n * pixels; i < (n + 1) * pixels; ++i)
            squared += std::pow(double(solution.x[i]) - cold.x[i], 2);
        const cpu::PdhgGap gap = solution.gaps[n];
        CHECK(std::sqrt(squared) <= std::sqrt(2 * gap.gap) + std::sqrt(2 * cold.gaps[n].gap));
        const float* x = solution.x.data() + n * pixels;
        CHECK(gap.primal ==
              doctest::Approx(primal(s, x, z.values.data() + n * pixels, lambda)).epsilon(1e-12));
        CHECK(gap.gap >= 0);
    }
}

}  // namespace

TEST_CASE("a state of another map or boundary: the answer is this problem's") {
    const ImageStack z = images(2);
    const std::pair<Map, Map> maps[] = {{scalar(0.1f), scalar(0.05f)},
                                        {scalar(0.05f), scalar(0.1f)},
                                        {scalar(0.1f), scalar(0.002f)},
                                        {scalar(0.1f), map_of(MapKind::shared, 0.05)},
                                        {map_of(MapKind::separate, 0.1), map_of(MapKind::separate, 0.03)}};
    for (const Boundary before : {Boundary::periodic, Boundary::neumann})
        for (const Boundary after : {Boundary::periodic, Boundary::neumann})
            for (const auto& [first, second] : maps) {
                CAPTURE(int(before));
                CAPTURE(int(after));
                CAPTURE(second.values[1 % second.values.size()]);
                SolverState state;
                REQUIRE(solve(backend(), config(before), z, first, to_gap(1e-5, &state)).reached);
                const Solution solution = solve(backend(), config(after), z, second, to_gap(1e-4, &state));
                CHECK(solution.reached);
                check_answer(solution, z, second, after);
            }
}

TEST_CASE("in a stack no image's start stands for what is reached") {
    const ImageStack z = images(2);
    SolverState state;
    const Map lambda = scalar(0.07f);
    REQUIRE(solve(backend(), config(Boundary::periodic), z, lambda, to_gap(1e-6, &state)).reached);
    // The first image is done, with a p from which every further step leads away; the second one starts again.
    for (int i = 0; i < pixels; ++i) {
        state.p[i] += 600;
        state.x_bar[i] -= 200;  // tau is 1/3
    }
    const std::vector<float> start = state.x;
    std::copy(z.values.begin() + pixels, z.values.end(), state.x.begin() + pixels);
    std::copy(z.values.begin() + pixels, z.values.end(), state.x_bar.begin() + pixels);
    std::fill(state.p.begin() + pixels, state.p.end(), 0.0f);
    std::fill(state.q.begin() + 2 * pixels, state.q.end(), 0.0f);
    const Solution solution =
        solve(backend(), config(Boundary::periodic, 32), z, lambda, to_gap(1e-6, &state));
    CHECK(!solution.reached);
    CHECK(solution.steps == 32);
    CHECK(!std::equal(start.begin(), start.begin() + pixels, solution.x.begin()));
    CHECK(solution.gaps[0].relative() > 1e-3);
}

TEST_CASE("what a run leaves is accepted, also after the map has changed; a file says the same") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.safetensors";
    const ImageStack z = images(2);
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann})
        for (const double theta : {1.0, 0.6, 0.0})
            for (const int steps : {1, 2, 40, 3000}) {
                CAPTURE(theta);
                CAPTURE(steps);
                SolverConfig solver = config(boundary, steps);
                solver.theta = theta;
                solver.tau = 0.2;
                SolverState state;
                SolveOptions options;
                options.state = &state;
                // From afresh, from what was left, from within narrower bounds, and to no step at all.
                for (const float lambda : {0.3f, 0.3f, 0.02f, 0.02f}) {
                    solve(backend(), solver, z, scalar(lambda), options);
                    write_solver_state(path, state, 2, height, width);
                    const SolverState again = read_solver_state(path, 2, height, width);
                    CHECK(again.x_bar == state.x_bar);
                    CHECK(again.extrapolation == state.extrapolation);
                }
                solve(backend(), solver, z, scalar(0), to_gap(1e9, &state));
                CHECK(state.extrapolation == 0);
                CHECK(state.q == std::vector<float>(state.q.size(), 0.0f));
                check_solver_state("state", state, 2, height, width);
            }
}

TEST_CASE("iterates that no run can have left are refused, in memory and in a file") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.safetensors";
    const ImageStack z = images(1);
    SolverState good;
    SolveOptions options;
    options.state = &good;
    solve(backend(), config(Boundary::periodic, 50), z, scalar(0.1f), options);
    const auto refusal = [&](const auto& change) {
        SolverState state = good;
        change(state);
        write_solver_state(path, state, 1, height, width);
        std::string said[2] = {"accepted", "accepted"};
        try {
            read_solver_state(path, 1, height, width);
        } catch (const Error& error) {
            said[0] = error.what();
        }
        options.state = &state;
        try {
            solve(backend(), config(Boundary::periodic, 50), z, scalar(0.1f), options);
        } catch (const Error& error) {
            said[1] = error.what();
        }
        INFO(said[0]);
        CHECK((said[0] == "accepted") == (said[1] == "accepted"));
        CHECK((said[0] == "accepted" || said[0].find(path) == 0));
        return said[1];
    };
    const auto has = [](const std::string& message, const std::string& part) {
        INFO(message);
        return message.find(part) != std::string::npos;
    };
    CHECK(refusal([](SolverState&) {}) == "accepted");
    CHECK(has(refusal([](SolverState& s) { s.x_bar[17] += 1e-3f; }), "x_bar is"));
    CHECK(has(refusal([](SolverState& s) { s.p[17] += 1e-3f; }), "row 1, column 2 of image 0"));
    CHECK(has(refusal([](SolverState& s) { s.q[17] += 1e-3f; }), "no run can have left this"));
    CHECK(has(refusal([](SolverState& s) { s.p[0] = 1e30f; }), "no run can have left this"));
    CHECK(has(refusal([](SolverState& s) { s.x_bar.assign(pixels, 1e30f); }), "no run can have left this"));
    CHECK(has(refusal([](SolverState& s) { s.extrapolation *= 2; }), "no run can have left this"));
    CHECK(has(refusal([](SolverState& s) { s.extrapolation = -0.1f; }), "extrapolation of -0.1"));
    CHECK(has(refusal([](SolverState& s) { s.extrapolation = std::numeric_limits<float>::infinity(); }),
              "extrapolation of inf"));

    // Without the step that left them, and rounded to eleven bits, as a file of half precision would be.
    write_solver_state(path, good, 1, height, width);
    SafeTensors file = read_safetensors(path);
    file.tensors.erase("extrapolation");
    write_safetensors(path, file);
    CHECK_THROWS_WITH_AS(read_solver_state(path, 1, height, width),
                         doctest::Contains("no tensor extrapolation"), Error);
    for (std::vector<float>* part : {&good.x, &good.x_bar, &good.p, &good.q})
        for (float& value : *part) value = std::ldexp(std::round(std::ldexp(value, 11)), -11);
    CHECK(has(refusal([](SolverState&) {}), "no run can have left this"));
}

TEST_CASE("there is no gap for a q outside its bounds, and none below zero") {
    PdhgProblem s;
    s.height = height;
    s.width = width;
    s.map = MapKind::scalar;
    const ImageStack z = images(1);
    std::vector<float> q(2 * pixels, 0.05f);
    const auto gap = [&](float lambda) {
        return cpu::pdhg_gap(s, z.values.data(), &lambda, z.values.data(), q.data());
    };
    CHECK(gap(0.05f).gap >= 0);
    CHECK_THROWS_WITH_AS(gap(0.049f), doctest::Contains("project it first"), Error);
    q[pixels + 3] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH_AS(gap(0.05f), doctest::Contains("horizontal q of pixel 3 is nan"), Error);
    // Neumann: the last row has no vertical difference, and its q does not count.
    s.boundary = Boundary::neumann;
    q.assign(2 * pixels, 0.0f);
    q[pixels - 1] = 7;
    CHECK(gap(0.05f).gap >= 0);

    // A gap that is no number: squares of such values are beyond doubles.
    const ImageStack huge{1, height, width,
                          std::vector<float>(pixels, std::numeric_limits<float>::infinity())};
    const float lambda = 0.05f;
    CHECK_THROWS_WITH_AS(cpu::pdhg_gap(s, huge.values.data(), &lambda, z.values.data(), q.data()),
                         doctest::Contains("too large for single precision"), Error);
}
