// Restoration of whole arrays: where A is the identity in other words it is solve() to the bit, gradients are those of the
// mean squared error, and what does not fit is refused. (The kernels are compared with their reference in tests/family/.)
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "engine/solver/family_solver.h"
#include "tests/support/refusal.h"

using namespace tvmap;

namespace {

std::vector<float> random_values(std::size_t count, unsigned seed, float from = 0, float to = 1) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> uniform(from, to);
    std::vector<float> values(count);
    for (float& value : values) value = uniform(generator);
    return values;
}

ImageStack images_of(int count, int height, int width, unsigned seed) {
    return {count, height, width, random_values(std::size_t(count) * height * width, seed)};
}

Observation observed(DataTerm data, int height, int width) {
    Observation o;
    o.data = data;
    if (data == DataTerm::weights) {
        o.values = random_values(std::size_t(height) * width, 9);
        for (float& weight : o.values) weight = weight < 0.4f ? 0.0f : 1.0f;
    } else if (data == DataTerm::blur) {
        o.rows = 3, o.columns = 5;
        o.values = random_values(15, 8, 0.01f, 0.1f);
    } else if (data == DataTerm::super_resolution) {
        o.factor = 2;
    } else if (data == DataTerm::huber) {
        o.threshold = 0.1f;
    }
    return o;
}

const DataTerm data_terms[] = {DataTerm::identity, DataTerm::weights, DataTerm::blur,
                               DataTerm::super_resolution, DataTerm::huber};

double squared_error(const std::vector<float>& x, const ImageStack& target) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += std::pow(double(x[i]) - target.values[i], 2);
    return sum / double(x.size());
}

}  // namespace

TEST_CASE("weights of 1, a kernel of one pixel and blocks of one pixel are denoising, to the bit") {
    const auto backend = make_backend("cpu");
    SolverConfig solver;
    solver.iterations = 70;
    Restoration given;
    given.z = images_of(2, 19, 23, 1);
    given.lambda = {MapKind::shared, random_values(19 * 23, 2, 0, 0.2f)};
    const std::vector<float> plain = solve(*backend, solver, given.z, given.lambda, {}).x;
    for (const DataTerm data : data_terms) {
        if (data == DataTerm::huber) continue;  // never is
        given.observation = {};
        given.observation.data = data;
        if (data == DataTerm::weights) given.observation.values.assign(19 * 23, 1.0f);
        if (data == DataTerm::blur) given.observation.values = {1.0f};
        CHECK((restore(*backend, solver, given, {}).x == plain));
        RestoreOptions watched;
        watched.watch_gap = true;
        watched.check_every = 11;
        CHECK((restore(*backend, solver, given, watched).x == plain));
    }
}

TEST_CASE("gradients for Λ and z are those of the mean squared error") {
    const auto backend = make_backend("cpu");
    for (const Regulariser regulariser : {Regulariser::tv, Regulariser::tv8, Regulariser::tgv})
        for (const DataTerm data : data_terms) {
            if (regulariser == Regulariser::tgv && data == DataTerm::huber) continue;
            CAPTURE(int(regulariser));
            CAPTURE(int(data));
            SolverConfig solver;
            solver.iterations = 40;
            solver.regulariser = regulariser;
            solver.norm_auto = true;
            solver.boundary = Boundary::neumann;
            Restoration given;
            const int factor = data == DataTerm::super_resolution ? 2 : 1;
            given.z = images_of(1, 12 / factor, 16 / factor, 3);
            given.observation = observed(data, 12, 16);
            const std::size_t maps = regulariser == Regulariser::tgv ? 2 : 1;
            given.lambda = {MapKind::shared, random_values(maps * 12 * 16, 4, 0.02f, 0.1f)};
            if (data == DataTerm::huber)
                for (float& value : given.lambda.values) value *= 5;  // or the data's dual is never cut
            const ImageStack target = images_of(1, 12, 16, 5);
            const SolverGradient gradient = restoration_gradient(*backend, solver, given, target, 1, true);
            CHECK(gradient.mse ==
                  doctest::Approx(squared_error(restore(*backend, solver, given, {}).x, target)));
            const auto check = [&](std::vector<float>& values, const std::vector<float>& derivative) {
                const std::vector<float> before = values, direction = random_values(values.size(), 6, -1, 1);
                double expected = 0;
                for (std::size_t i = 0; i < values.size(); ++i)
                    expected += double(derivative[i]) * direction[i];
                // Piecewise quadratic. Of 15,000 decisions and more a step of 10⁻⁵ turns one or two, whose parts of the
                // derivative are some 1 % of it, and x is rounded by 10⁻⁷, which makes 3·10⁻⁴ of the quotient.
                constexpr double step = 1e-5;
                double error[2];
                for (const int side : {0, 1}) {
                    for (std::size_t i = 0; i < values.size(); ++i)
                        values[i] = float(before[i] + (side ? step : -step) * direction[i]);
                    error[side] = squared_error(restore(*backend, solver, given, {}).x, target);
                }
                values = before;
                double norm = 0;
                for (const float d : derivative) norm += double(d) * d;
                CHECK(std::abs((error[1] - error[0]) / (2 * step) - expected) <
                      0.03 * std::sqrt(norm) + 3e-4);
                CHECK(norm > 0);
            };
            check(given.lambda.values, gradient.d_lambda);
            check(given.z.values, gradient.d_z);
        }
}

TEST_CASE("a gap that is asked for is reached, with the field's residual for tgv") {
    const auto backend = make_backend("cpu");
    for (const Regulariser regulariser : {Regulariser::tv, Regulariser::tv8, Regulariser::tgv}) {
        SolverConfig solver;
        solver.iterations = 20000;
        solver.regulariser = regulariser;
        solver.norm_auto = true;
        solver.boundary = Boundary::neumann;
        Restoration given;
        given.z = images_of(2, 20, 17, 7);
        given.lambda = {MapKind::scalar, {0.05f}};
        if (regulariser == Regulariser::tgv) given.lambda.values.push_back(0.1f);
        RestoreOptions how;
        how.watch_gap = true;
        how.tolerance = 1e-5;
        const Restored restored = restore(*backend, solver, given, how);
        CHECK(restored.reached);
        CHECK(restored.steps < 20000);
        for (const cpu::SolverGap& gap : restored.gaps) {
            CHECK(gap.relative() <= 1e-5);
            CHECK(0.5 * gap.field_residual * gap.field_residual <= 1e-5 * gap.primal);
        }
    }
}

TEST_CASE("what does not fit is refused") {
    const auto said = [](const SolverConfig& solver, const Restoration& given) {
        return refusal([&] { restoration_problem(solver, given); });
    };
    SolverConfig solver;
    Restoration given;
    given.z = images_of(1, 8, 8, 1);
    given.lambda = {MapKind::scalar, {0.1f}};
    CHECK(said(solver, given) == "accepted");
    solver.dual_start = DualStart::image;  // which no member of the family has
    CHECK(has(said(solver, given), "solver.dual_start: a restoration starts from zero duals"));
    solver.dual_start = DualStart::zero;
    given.observation.data = DataTerm::weights;
    CHECK(has(said(solver, given), "0 values where 64 are needed"));
    given.observation.values.assign(64, 1.0f);
    given.observation.values[3] = -1;
    CHECK(said(solver, given) != "accepted");
    given.observation = {};
    solver.regulariser = Regulariser::tgv;
    CHECK(has(said(solver, given), "2 numbers or maps"));
    given.lambda.values = {0.1f, -0.1f};
    CHECK(has(said(solver, given), "value number 1"));
    given.lambda.values = {0.1f, 0.1f};
    CHECK(said(solver, given) == "accepted");  // L = 3 is what the published code has: στL² = 1.31, below 4/3
    solver.norm = 2.9;
    CHECK(has(said(solver, given), "may diverge above 1.333"));
}
