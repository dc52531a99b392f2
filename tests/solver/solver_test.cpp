// The solver on whole arrays: pieces against one run, stopping by the gap, gradients of a map that several
// images share, and arguments that do not fit.
#include "engine/solver/solver.h"
#include "engine/config/equally_spaced.h"

#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/solver/search.h"
#include "engine/solver/solver_state.h"
#include "kernels/base/error.h"
#include "tests/reference/pdhg.h"
#include "tests/solver/solver_case.h"
#include "tests/support/refusal.h"
#include "tests/support/run_on.h"
#include "tests/support/temporary_folder.h"

namespace {

using namespace tvmap;
using solver_case::backend;
using solver_case::images;
using solver_case::map_of;
using solver_case::steps;

/// ½‖x−z‖² + ‖Λ∘∇x‖₁, periodic, shared map, in double.
double primal(const ImageStack& z, const std::vector<float>& x, const std::vector<float>& lambda) {
    double sum = 0;
    for (int i = 0; i < z.height; ++i)
        for (int j = 0; j < z.width; ++j) {
            const int at = i * z.width + j, below = (i + 1) % z.height * z.width + j,
                      right = i * z.width + (j + 1) % z.width;
            sum += 0.5 * std::pow(double(x[at]) - z.values[at], 2);
            sum += lambda[at] * (std::abs(double(x[below]) - x[at]) + std::abs(double(x[right]) - x[at]));
        }
    return sum;
}

}  // namespace

TEST_CASE("in pieces or in one run: the same bits") {
    const ImageStack z = images(3, 13, 18);
    for (MapKind kind : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        const Map lambda = map_of(kind, 13, 18);
        const Solution whole = solve(backend(), steps(100), z, lambda, {});
        SolveOptions pieces;
        pieces.watch_gap = true;
        pieces.check_every = 7;  // does not divide 100
        std::vector<int> traced;
        pieces.trace = [&](int step, int, const cpu::PdhgGap&) { traced.push_back(step); };
        const Solution cut = solve(backend(), steps(100), z, lambda, pieces);
        CHECK(cut.steps == 100);
        CHECK(traced.size() == 3 * 15);
        CHECK(traced.back() == 100);
        // The gap falls at every look on these images, so the best iterate is the last.
        CHECK(cut.x == whole.x);
        CHECK(whole.x != z.values);
    }
}

TEST_CASE("stopping by the gap") {
    const ImageStack z = images(2, 11, 16);
    const Map lambda = map_of(MapKind::shared, 11, 16);
    SolveOptions options;
    options.watch_gap = true;
    options.tolerance = 1e-4;
    const Solution solution = solve(backend(), steps(20000), z, lambda, options);
    CHECK(solution.reached);
    CHECK(solution.steps < 20000);
    CHECK(solution.steps % 32 == 0);
    REQUIRE(solution.gaps.size() == 2);
    const Solution exact = solve(backend(), steps(20000), z, lambda, {});
    for (int n = 0; n < 2; ++n) {
        CHECK(solution.gaps[n].relative() <= 1e-4);
        ImageStack one{1, 11, 16, {z.values.begin() + n * 176, z.values.begin() + (n + 1) * 176}};
        const std::vector<float> x(solution.x.begin() + n * 176, solution.x.begin() + (n + 1) * 176);
        const std::vector<float> best(exact.x.begin() + n * 176, exact.x.begin() + (n + 1) * 176);
        const double value = primal(one, x, lambda.values);
        // Both sum the same products in double, in another order.
        CHECK(value == doctest::Approx(solution.gaps[n].primal).epsilon(1e-12));
        // The gap bounds the distance to the optimum from above; 1e-9 for the optimum's own rounding.
        CHECK(value - primal(one, best, lambda.values) <= solution.gaps[n].gap + 1e-9);
    }

    options.tolerance = 0;
    const Solution unreached = solve(backend(), steps(64), z, lambda, options);
    CHECK(!unreached.reached);
    CHECK(unreached.steps == 64);
}

TEST_CASE("what asks to stop is heard") {
    const ImageStack z = images(1, 9, 9);
    SolveOptions options;
    options.watch_gap = true;
    options.proceed = [](int step) { return step < 96; };
    const Solution solution = solve(backend(), steps(1000), z, map_of(MapKind::scalar, 9, 9), options);
    CHECK(solution.stopped);
    CHECK(solution.steps == 96);
    options = {};
    options.repeat = 5;
    int asked = 0;
    options.proceed = [&](int) { return ++asked < 2; };
    CHECK(solve(backend(), steps(8), z, map_of(MapKind::scalar, 9, 9), options).stopped);
    CHECK(asked == 2);
}

TEST_CASE("the gradient of a map that several images share is the sum over them") {
    const int h = 10, w = 15, pixels = h * w, count = 3, iterations = 24;
    const ImageStack z = images(count, h, w), clean = images(count, h, w, 0.4);
    for (MapKind kind : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        CAPTURE(int(kind));
        const Map lambda = map_of(kind, h, w);
        const SolverGradient got = solver_gradient(backend(), steps(iterations), z, lambda, clean, 2, true);

        std::vector<double> d_lambda(lambda.values.size()), d_z;
        double mse = 0;
        for (int n = 0; n < count; ++n) {
            reference::Pdhg s;
            s.height = h;
            s.width = w;
            s.iterations = iterations;
            const reference::Plane image(z.values.begin() + n * pixels, z.values.begin() + (n + 1) * pixels);
            reference::Plane map(2 * pixels);
            for (int i = 0; i < 2 * pixels; ++i)
                map[i] = lambda.values[kind == MapKind::scalar   ? 0
                                       : kind == MapKind::shared ? i % pixels
                                                                 : i];
            const reference::PdhgRun run = reference::pdhg_forward(s, image, map);
            reference::Plane d_x(pixels);
            for (int i = 0; i < pixels; ++i) {
                const double error = run.x[i] - clean.values[n * pixels + i];
                mse += error * error / (count * pixels);
                d_x[i] = 2 * error / (count * pixels);
            }
            const reference::PdhgGradient gradient = reference::pdhg_adjoint(s, run.e, d_x);
            for (int i = 0; i < 2 * pixels; ++i)
                d_lambda[kind == MapKind::scalar   ? 0
                         : kind == MapKind::shared ? i % pixels
                                                   : i] += gradient.lambda[i];
            d_z.insert(d_z.end(), gradient.z.begin(), gradient.z.end());
        }
        const auto distance = [](const std::vector<float>& a, const std::vector<double>& b) {
            double difference = 0, size = 0;
            for (std::size_t i = 0; i < b.size(); ++i) {
                difference += (a[i] - b[i]) * (a[i] - b[i]);
                size += b[i] * b[i];
            }
            return std::sqrt(difference / size);
        };
        // No decision of the clip lies within fp32 rounding of its bound here, so only rounding is left: 24
        // steps.
        CHECK(got.mse == doctest::Approx(mse).epsilon(1e-5));
        REQUIRE(got.d_lambda.size() == d_lambda.size());
        REQUIRE(got.d_z.size() == d_z.size());
        CHECK(distance(got.d_lambda, d_lambda) < 5e-6);
        CHECK(distance(got.d_z, d_z) < 5e-6);
        const SolverGradient alone =
            solver_gradient(backend(), steps(iterations), z, lambda, clean, 1, false);
        CHECK(alone.d_lambda == got.d_lambda);
        CHECK(alone.d_z.empty());
    }
}

TEST_CASE("the gradient's memory: masks of four bits a pixel and step, and little else") {
    const ImageStack z = images(1, 256, 256), clean = images(1, 256, 256, 0.4);
    const SolverGradient got =
        solver_gradient(backend(), steps(256), z, map_of(MapKind::shared, 256, 256), clean, 1, false);
    constexpr std::size_t masks = 256 * 256 * 256 / 2, plane = 256 * 256 * sizeof(float);
    CHECK(got.bytes > masks);
    // A workspace of 28 bytes a pixel and its padding, the result, and the gradient: 12 MB leave the process
    // a megabyte for the code and the threads.
    CHECK(got.bytes < masks + 10 * plane);
    CHECK(got.bytes < 11'000'000);
}

TEST_CASE("a saved state goes on to the same bits") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.safetensors";
    const ImageStack z = images(2, 9, 14);
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann})
        for (const MapKind kind : {MapKind::scalar, MapKind::separate}) {
            const Map lambda = map_of(kind, 9, 14);
            SolverConfig first = steps(23), second = steps(41), whole = steps(64);
            first.boundary = second.boundary = whole.boundary = boundary;
            SolverState state;
            SolveOptions options;
            options.state = &state;
            const Solution begun = solve(backend(), first, z, lambda, options);
            CHECK(begun.x == state.x);
            write_solver_state(path, state, 2, 9, 14);
            state = read_solver_state(path, 2, 9, 14);
            options.watch_gap = true;  // looks at the iterates and leaves them as they are
            options.check_every = 4;
            const Solution ended = solve(backend(), second, z, lambda, options);
            CHECK(ended.steps == 41);
            SolverState reached;
            SolveOptions at_once;
            at_once.state = &reached;
            CHECK(solve(backend(), whole, z, lambda, at_once).x == solve(backend(), whole, z, lambda, {}).x);
            CHECK(state.x == reached.x);
            CHECK(state.x_bar == reached.x_bar);
            CHECK(state.p == reached.p);
            CHECK(state.q == reached.q);
            CHECK(state.x != begun.x);
        }

    CHECK(has(refusal([&] { read_solver_state(path, 2, 14, 9); }),
              "x is 2×9×14 where these images need 2×14×9"));
    SolverState bad(2 * 9 * 14);
    bad.q[3] = std::numeric_limits<float>::quiet_NaN();
    SolveOptions options;
    options.state = &bad;
    CHECK(has(refusal([&] { solve(backend(), steps(4), z, map_of(MapKind::scalar, 9, 14), options); }),
              "state: q: value number 3 is nan"));
    bad.q.pop_back();
    CHECK(has(refusal([&] { solve(backend(), steps(4), z, map_of(MapKind::scalar, 9, 14), options); }),
              "state: q has 503 values where the images need 504"));
}

TEST_CASE("residuals: those of one step, written out in double, and zero at a solution") {
    const int n = 2, h = 9, w = 14, pixels = h * w;
    const ImageStack z = images(n, h, w);
    for (const bool neumann : {false, true})
        for (const MapKind kind : {MapKind::shared, MapKind::separate}) {
            const Map lambda = map_of(kind, h, w);
            SolverConfig solver = steps(8);
            solver.boundary = neumann ? Boundary::neumann : Boundary::periodic;
            solver.tau = 0.25;
            solver.sigma = 0.4;
            SolveOptions options;
            options.watch_gap = true;
            options.check_every = 4;
            std::vector<PdhgResiduals> residuals;  // step 4: both images, step 8: both
            options.residuals = [&](int, int, const PdhgResiduals& r) { residuals.push_back(r); };
            const Solution watched = solve(backend(), solver, z, lambda, options);
            REQUIRE(residuals.size() == 2 * n);
            CHECK(watched.x == solve(backend(), solver, z, lambda, {}).x);

            for (int image = 0; image < n; ++image) {
                reference::Pdhg s{h, w, 7, 0.25, 0.4, 1, neumann, false};
                const auto first = z.values.begin() + image * pixels;
                const reference::Plane noisy(first, first + pixels);
                reference::Plane map(2 * pixels);
                for (int i = 0; i < 2 * pixels; ++i)
                    map[i] = lambda.values[kind == MapKind::shared ? i % pixels : i];
                const reference::PdhgRun before = reference::pdhg_forward(s, noisy, map);
                s.iterations = 8;
                const reference::PdhgRun after = reference::pdhg_forward(s, noisy, map);
                // Kᵀy₊, and the subgradient of F* at y₊ that the proximal step picks, less Kx₊.
                const reference::Plane transposed = reference::gradient_transposed(s, after.q);
                reference::Plane ahead(pixels);
                double primal = 0, dual = 0;
                for (int i = 0; i < pixels; ++i) {
                    primal += std::pow(after.p[i] + transposed[i], 2);
                    ahead[i] = before.x_bar[i] - after.x[i];
                    dual += std::pow((before.p[i] - after.p[i]) / s.sigma + ahead[i], 2);
                }
                const reference::Plane differences = reference::gradient(s, ahead);
                for (int i = 0; i < 2 * pixels; ++i)
                    dual += std::pow((before.q[i] - after.q[i]) / s.sigma + differences[i], 2);
                // fp32 iterates of size 1 divided by steps of 0.25 and 0.4: 1e-6 absolutely, of norms near
                // 0.1.
                CHECK(residuals[n + image].primal == doctest::Approx(std::sqrt(primal)).epsilon(1e-4));
                CHECK(residuals[n + image].dual == doctest::Approx(std::sqrt(dual)).epsilon(1e-4));
            }

            residuals.clear();
            options.check_every = 4000;
            solve(backend(), steps(4000), z, lambda, options);
            for (const PdhgResiduals& r : residuals) {
                CHECK(r.primal < 2e-5);  // 126 pixels, each within a rounding of x over tau
                CHECK(r.dual < 2e-5);
            }
        }
    SolveOptions options;
    options.residuals = [](int, int, const PdhgResiduals&) {};
    CHECK(has(refusal([&] { solve(backend(), steps(4), z, map_of(MapKind::scalar, h, w), options); }),
              "residuals are measured with the gap"));
}

TEST_CASE("a warm start from a solution stops at once") {
    const ImageStack z = images(2, 9, 14);
    const Map lambda = map_of(MapKind::shared, 9, 14);
    SolverState state;
    SolveOptions options;
    options.state = &state;
    options.watch_gap = true;
    options.tolerance = 1e-5;
    const Solution cold = solve(backend(), steps(20000), z, lambda, options);
    REQUIRE(cold.reached);
    REQUIRE(cold.steps > 0);
    const std::vector<float> reached = state.x;
    const Solution warm = solve(backend(), steps(20000), z, lambda, options);
    CHECK(warm.reached);
    CHECK(warm.steps == 0);
    CHECK(warm.x == reached);
    CHECK(state.x == reached);
    options.tolerance = 1e-6;
    const Solution further = solve(backend(), steps(20000), z, lambda, options);
    CHECK(further.reached);
    CHECK(further.steps > 0);
}

TEST_CASE("arguments that do not fit") {
    const ImageStack z = images(2, 6, 8);
    const Map lambda = map_of(MapKind::shared, 6, 8);
    const auto refused = [&](auto change) {
        SolverConfig solver = steps(4);
        ImageStack stack = z;
        Map map = lambda;
        change(solver, stack, map);
        return refusal([&] { solve(backend(), solver, stack, map, {}); });
    };
    const float nan = std::numeric_limits<float>::quiet_NaN(),
                infinite = std::numeric_limits<float>::infinity();
    CHECK(refused([](auto&, auto&, auto&) {}) == "accepted");
    CHECK(has(refused([](auto& s, auto&, auto&) { s.iterations = 0; }), "solver.iterations: 0 is too small"));
    CHECK(has(refused([](auto& s, auto&, auto&) { s.tau = 0.4; }), "solver.tau: tau·sigma·L² is 1.2"));
    CHECK(has(refused([](auto& s, auto&, auto&) { s.theta = std::nan(""); }), "solver.theta"));
    CHECK(has(refused([](auto& s, auto&, auto&) { s.norm = std::nan(""); }), "solver.norm"));
    CHECK(has(refused([&](auto&, auto& i, auto&) { i.values[50] = nan; }), "images: value number 50 is nan"));
    CHECK(has(refused([&](auto&, auto& i, auto&) { i.values[1] = -infinite; }),
              "images: value number 1 is -inf"));
    CHECK(has(refused([](auto&, auto& i, auto&) { i.values.pop_back(); }), "95 values do not make 2×6×8"));
    CHECK(has(refused([](auto&, auto& i, auto&) { i = ImageStack{}; }), "nothing to solve"));
    CHECK(has(refused([&](auto&, auto&, auto& m) { m.values[3] = infinite; }),
              "lambda: value number 3 is inf"));
    CHECK(has(refused([](auto&, auto&, auto& m) { m.values[47] = -1e-6f; }),
              "lambda: value number 47 is -1e-06; give 0 or more"));
    CHECK(has(refused([](auto&, auto&, auto& m) { m.values.resize(47); }),
              "47 values where images of 6×8 need 48"));
    CHECK(has(refused([](auto&, auto&, auto& m) { m.kind = MapKind::separate; }), "need 96"));
    CHECK(has(refusal([&] { solver_gradient(backend(), steps(4), z, lambda, images(1, 6, 8), 1, false); }),
              "target: 1×6×8 does not fit"));
    ImageStack bad = z;
    bad.values[0] = nan;
    CHECK(has(refusal([&] { solver_gradient(backend(), steps(4), z, lambda, bad, 1, false); }),
              "target: value number 0 is nan"));
}
