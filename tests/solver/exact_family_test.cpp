// The family's gradient in double that studies measure against: the reference's, for every regulariser, map, boundary and
// operator.
#include "engine/solver/exact_family.h"

#include <doctest/doctest.h>
#include <cmath>
#include <string>

#include "kernels/base/error.h"
#include "tests/reference/family.h"

namespace {

using namespace tvmap;

constexpr int height = 6, width = 10, pixels = height * width, iterations = 12, factor = 2;
constexpr int rows = 3, columns = 5;  // of a blur that no turn leaves as it is

struct Case {
    SolverProblem problem;
    std::vector<float> z, data, lambda;
    std::vector<double> d_x;
};

Case case_of(Regulariser regulariser, MapKind map, Boundary boundary, DataTerm data) {
    Case c;
    SolverProblem& p = c.problem;
    p.regulariser = regulariser;
    p.data = data;
    p.height = height;
    p.width = width;
    p.map = map;
    p.boundary = boundary;
    p.tau = 0.25f;
    p.sigma = 0.375f;
    p.theta = 0.875f;  // binary fractions: the same numbers in double
    p.own_start = data == DataTerm::blur || data == DataTerm::super_resolution;
    if (data == DataTerm::super_resolution) p.factor = factor;
    if (data == DataTerm::huber) p.threshold = 0.0625f;
    if (data == DataTerm::blur) {
        p.kernel_height = rows;
        p.kernel_width = columns;
        for (int i = 0; i < rows * columns; ++i) c.data.push_back(float(1 + i * i % 11) / 64);
    }
    for (int at = 0; at < pixels; ++at) {
        const int i = at / width, j = at % width;
        const int seen =
            data == DataTerm::super_resolution ? i / factor * factor * width + j / factor * factor : at;
        c.z.push_back(float(seen / 7 % 3 * 0.3 + 0.2 * std::sin(12.9898 * seen)));
        c.d_x.push_back(0.1 * std::cos(3.1 * at));
        if (data == DataTerm::weights) c.data.push_back(at % 3 == 0 ? 0.0f : float(0.25 + 0.03 * (at % 11)));
    }
    for (int i = 0; i < p.map_size(); ++i)
        c.lambda.push_back(float(0.04 + 0.03 * std::cos(1.7 * i)) * (data == DataTerm::huber ? 16 : 1));
    return c;
}

/// The reference's problem, data and map (of each component) for a case.
struct Expected {
    reference::Family family;
    reference::Values z, start, lambda;
    int map(int component) const {
        return component % pixels +
               (family.kind == reference::Kind::tgv && component >= 2 * pixels ? pixels : 0);
    }
};

Expected expected_of(const Case& c) {
    const SolverProblem& p = c.problem;
    Expected e;
    e.family.kind = p.regulariser == Regulariser::tv    ? reference::Kind::tv
                    : p.regulariser == Regulariser::tv8 ? reference::Kind::tv8
                                                        : reference::Kind::tgv;
    e.family.height = height;
    e.family.width = width;
    e.family.iterations = iterations;
    e.family.neumann = p.boundary == Boundary::neumann;
    e.family.tau = p.tau;
    e.family.sigma = p.sigma;
    e.family.theta = p.theta;
    e.family.huber = p.data == DataTerm::huber;
    e.family.threshold = p.threshold;
    const reference::Values z(c.z.begin(), c.z.end()), data(c.data.begin(), c.data.end());
    e.z = e.start = z;
    e.family.a = reference::diagonal(reference::Values(pixels, 1.0));
    if (p.data == DataTerm::weights) {  // A = √W, and √W z is observed
        reference::Values roots;
        for (int i = 0; i < pixels; ++i) {
            roots.push_back(std::sqrt(data[i]));
            e.z[i] = roots[i] * z[i];
            e.start[i] = data[i] * z[i];
        }
        e.family.a = reference::diagonal(roots);
    }
    if (p.data == DataTerm::blur) e.family.a = reference::blur(height, width, data, rows, columns);
    if (p.data == DataTerm::super_resolution) {
        e.family.a = reference::block_means(height, width, factor);
        e.z.clear();
        for (int i = 0; i < height; i += factor)
            for (int j = 0; j < width; j += factor) e.z.push_back(z[i * width + j]);
    }
    for (int i = 0; i < e.family.components() * pixels; ++i)
        e.lambda.push_back(c.lambda[p.map == MapKind::separate ? i : e.map(i)]);
    return e;
}

void check(const Case& c) {
    const SolverProblem& p = c.problem;
    const Expected e = expected_of(c);
    const int duals = e.family.components() * pixels, decisions = int(p.decisions()) * pixels;
    const auto expected = reference::family_forward(e.family, e.z, e.start, e.lambda);
    const reference::Values by_component = reference::family_adjoint(e.family, expected.e, c.d_x).lambda;
    std::vector<double> d_lambda(p.map_size());
    for (int i = 0; i < duals; ++i) d_lambda[p.map == MapKind::separate ? i : e.map(i)] += by_component[i];

    const ExactFamily exact(p, c.data.data());
    const ExactRun run = exact.run(iterations, c.z.data(), c.lambda.data());
    // Sums in another order, in double.
    CHECK(gradient_error(run.x, reference::Values(expected.u.begin(), expected.u.begin() + pixels)).relative <
          1e-13);
    int bound = 0, wrong = 0;
    for (int k = 0; k < iterations; ++k)
        for (int i = 0; i < decisions; ++i) {
            wrong += run.decisions.at(k, i) != expected.e[k][i];
            bound += expected.e[k][i] != 0;
        }
    CHECK(wrong == 0);
    CHECK(bound > iterations);
    CHECK(gradient_error(exact.gradient(iterations, run.decisions, c.d_x), d_lambda).relative < 1e-12);
}

}  // namespace

TEST_CASE("exact gradient of the family: the reference's") {
    for (const Regulariser regulariser : {Regulariser::tv, Regulariser::tv8, Regulariser::tgv})
        for (const MapKind map : {MapKind::shared, MapKind::separate})
            for (const Boundary boundary : {Boundary::periodic, Boundary::neumann})
                for (const DataTerm data : {DataTerm::identity, DataTerm::weights, DataTerm::blur,
                                            DataTerm::super_resolution, DataTerm::huber}) {
                    if (regulariser == Regulariser::tgv && data == DataTerm::huber) continue;
                    CAPTURE(int(regulariser));
                    CAPTURE(int(map));
                    CAPTURE(int(boundary));
                    CAPTURE(int(data));
                    check(case_of(regulariser, map, boundary, data));
                }
}

TEST_CASE("exact gradient of the family: one solve with a map") {
    SolverProblem problem =
        case_of(Regulariser::tgv, MapKind::shared, Boundary::periodic, DataTerm::identity).problem;
    problem.solves = 2;
    CHECK_THROWS_AS(ExactFamily(problem, nullptr), Error);
    problem.solves = 1;
    problem.map = MapKind::scalar;
    CHECK_THROWS_AS(ExactFamily(problem, nullptr), Error);
}
