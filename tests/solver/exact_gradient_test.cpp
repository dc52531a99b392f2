// The study's double-precision gradient: against the reference of the tests, against the kernels on the same
// decisions, and the measure of the distance between gradients.
#include "engine/solver/exact_gradient.h"

#include <doctest/doctest.h>
#include <cmath>
#include <memory>

#include "kernels/base/error.h"
#include "kernels/device_array.h"
#include "tests/reference/pdhg.h"

namespace {

using namespace tvmap;

struct Case {
    PdhgProblem problem;
    int iterations = 40;
    std::vector<float> z, lambda;
    std::vector<double> d_x;
};

Case case_of(MapKind map, Boundary boundary, DualStart start) {
    Case c;
    c.problem.height = 11;
    c.problem.width = 18;
    c.problem.map = map;
    c.problem.boundary = boundary;
    c.problem.dual_start = start;
    c.problem.tau = 0.25f;
    c.problem.sigma = 0.375f;
    c.problem.theta = 0.875f;  // binary fractions: the same numbers in double
    for (int i = 0; i < c.problem.pixels(); ++i) {
        c.z.push_back(float(i / 7 % 3 * 0.3 + 0.2 * std::sin(12.9898 * i)));
        c.d_x.push_back(float(0.1 * std::cos(3.1 * i)));
    }
    for (int i = 0; i < c.problem.map_size(); ++i) c.lambda.push_back(float(0.06 + 0.03 * std::cos(1.7 * i)));
    return c;
}

template <class Check>
void each_case(const Check& check) {
    for (const MapKind map : {MapKind::shared, MapKind::separate})
        for (const Boundary boundary : {Boundary::periodic, Boundary::neumann})
            for (const DualStart start : {DualStart::zero, DualStart::image}) {
                CAPTURE(int(map));
                CAPTURE(int(boundary));
                CAPTURE(int(start));
                check(case_of(map, boundary, start));
            }
}

}  // namespace

TEST_CASE("exact gradient: the reference's") {
    each_case([](const Case& c) {
        const PdhgProblem& p = c.problem;
        const int pixels = int(p.pixels());
        reference::Pdhg s;
        s.height = p.height;
        s.width = p.width;
        s.iterations = c.iterations;
        s.tau = p.tau;
        s.sigma = p.sigma;
        s.theta = p.theta;
        s.neumann = p.boundary == Boundary::neumann;
        s.start_at_image = p.dual_start == DualStart::image;
        reference::Plane map(2 * pixels);
        for (int i = 0; i < 2 * pixels; ++i) map[i] = c.lambda[i % int(p.map_size())];
        const auto expected = reference::pdhg_forward(s, reference::Plane(c.z.begin(), c.z.end()), map);
        const reference::Plane by_component = reference::pdhg_adjoint(s, expected.e, c.d_x).lambda;
        std::vector<double> d_lambda(p.map_size());
        for (int i = 0; i < 2 * pixels; ++i) d_lambda[i % int(p.map_size())] += by_component[i];

        const ExactRun run = exact_run(p, c.iterations, c.z.data(), c.lambda.data());
        // Sums in another order, in double.
        CHECK(gradient_error(run.x, expected.x).relative < 1e-13);
        int bound = 0, wrong = 0;
        for (int k = 0; k < c.iterations; ++k)
            for (int i = 0; i < 2 * pixels; ++i) {
                wrong += run.decisions.at(k, i) != expected.e[k][i];
                bound += expected.e[k][i] != 0;
            }
        CHECK(wrong == 0);
        CHECK(bound > 0);
        const std::vector<double> got = exact_gradient(p, c.iterations, run.decisions, c.d_x);
        CHECK(gradient_error(got, d_lambda).relative < 1e-12);
    });
}

TEST_CASE("exact gradient: the kernels' on the decisions that they recorded") {
    const std::unique_ptr<Backend> backend = make_backend("cpu");
    each_case([&](const Case& c) {
        const PdhgProblem& p = c.problem;
        const std::size_t pixels = p.pixels();
        DeviceArray<float> z(*backend, c.z), lambda(*backend, c.lambda), x(*backend, pixels),
            d_x(*backend, std::vector<float>(c.d_x.begin(), c.d_x.end())),
            d_lambda(*backend, c.lambda.size());
        const DeviceArray<std::byte> workspace(*backend, backend->pdhg_workspace_bytes(p));
        const DeviceArray<std::uint8_t> masks(*backend, backend->pdhg_mask_bytes(p, c.iterations));
        backend->pdhg_forward(p, c.iterations, {z.data(), lambda.data()},
                              {.x = x.data(), .masks = masks.data()}, {workspace.data(), workspace.bytes()});
        backend->pdhg_adjoint(p, c.iterations, {.masks = masks.data(), .d_x = d_x.data()},
                              {.d_lambda = d_lambda.data()}, {workspace.data(), workspace.bytes()});
        const ClipDecisions decisions = unpack_decisions(p, c.iterations, masks.data());
        const std::vector<double> exact = exact_gradient(p, c.iterations, decisions, c.d_x),
                                  got(d_lambda.data(), d_lambda.data() + d_lambda.size());
        const GradientError error = gradient_error(got, exact);
        CHECK(error.relative < 2e-6);  // 40 steps in fp32
        CHECK(error.relative > 0);
        CHECK(error.angle < 2e-4);
        // The same trajectory in double, but for its rounding.
        CHECK(gradient_error(std::vector<double>(x.data(), x.data() + pixels),
                             exact_run(p, c.iterations, c.z.data(), c.lambda.data()).x)
                  .relative < 1e-6);
    });
}

TEST_CASE("the distance between gradients") {
    const GradientError right = gradient_error({0, 2}, {1, 0});
    CHECK(right.relative == doctest::Approx(std::sqrt(5.0)));
    CHECK(right.angle == doctest::Approx(90));
    CHECK(gradient_error({-3, 0}, {1, 0}).angle == doctest::Approx(180));
    CHECK(gradient_error({2, 0}, {1, 0}).angle == 0);
    // An angle whose cosine is 1 in double.
    CHECK(gradient_error({1, 1e-9}, {1, 0}).angle == doctest::Approx(1e-9 * 180 / std::acos(-1.0)));
    CHECK(gradient_error({0, 0}, {1, 0}).relative == 1);
    CHECK(gradient_error({0, 0}, {0, 0}).relative == 0);
}

TEST_CASE("exact gradient: one solve with a map") {
    PdhgProblem problem = case_of(MapKind::shared, Boundary::periodic, DualStart::zero).problem;
    problem.solves = 2;
    CHECK_THROWS_AS(exact_run(problem, 1, nullptr, nullptr), Error);
    problem.solves = 1;
    problem.map = MapKind::scalar;
    CHECK_THROWS_AS(exact_gradient(problem, 1, ClipDecisions(1, 4), {}), Error);
}
