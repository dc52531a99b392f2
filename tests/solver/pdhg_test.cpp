// The total-variation solver and its adjoint against the double reference and closed forms.
#include "kernels/solver/pdhg.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "tests/reference/pdhg.h"
#include "tests/solver/pdhg_case.h"

using namespace pdhg_case;

namespace {

reference::Pdhg reference_problem(const PdhgProblem& s, int iterations) {
    return {s.height,
            s.width,
            iterations,
            s.tau,
            s.sigma,
            s.theta,
            s.boundary == Boundary::neumann,
            s.dual_start == DualStart::image};
}

// z and the two-plane map of one solve, in double.
reference::Plane image_of(const PdhgProblem& s, const Data& data, int solve) {
    const auto* z = data.z.data() + solve / s.solves_per_image * s.pixels();
    return {z, z + s.pixels()};
}
reference::Plane map_of(const PdhgProblem& s, const Data& data, int solve) {
    const auto* lambda = data.lambda.data() + solve * s.map_size();
    if (s.map == MapKind::scalar) return reference::Plane(std::size_t(2 * s.pixels()), *lambda);
    reference::Plane map(lambda, lambda + s.map_size());
    if (s.map == MapKind::shared) map.insert(map.end(), lambda, lambda + s.pixels());
    return map;
}
// The two-plane gradient, summed as the map is shared.
reference::Plane reduce_map(const PdhgProblem& s, const reference::Plane& d) {
    reference::Plane sum(std::size_t(s.map_size()), 0.0);
    for (std::size_t i = 0; i < d.size(); ++i) {
        sum[s.map == MapKind::scalar   ? 0
            : s.map == MapKind::shared ? i % std::size_t(s.pixels())
                                       : i] += d[i];
    }
    return sum;
}

std::vector<reference::Decisions> decisions_of(const PdhgProblem& s, int iterations, const Result& result,
                                               int solve) {
    const std::size_t pixels = std::size_t(s.pixels());
    std::vector<reference::Decisions> e;
    for (int k = 0; k < iterations; ++k) {
        e.emplace_back(2 * pixels);
        cpu::pdhg_unpack_mask(s, iterations, result.masks.data(), solve, k, e.back().data(),
                              e.back().data() + pixels);
    }
    return e;
}

double distance(const reference::Plane& a, const reference::Plane& b) {
    double squared = 0;
    for (std::size_t i = 0; i < b.size(); ++i) squared += (a[i] - b[i]) * (a[i] - b[i]);
    return std::sqrt(squared);
}

double largest_error(const float* a, const reference::Plane& b) {
    double largest = 0;
    for (std::size_t i = 0; i < b.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
}

// Product against reference: x, the masks' sense, d_Λ and d_z with the product's masks imposed.
void compare_with_reference(const PdhgProblem& s, int iterations, unsigned seed) {
    CAPTURE(s.height);
    CAPTURE(s.width);
    CAPTURE(int(s.map));
    CAPTURE(int(s.boundary));
    CAPTURE(int(s.dual_start));
    CAPTURE(iterations);
    const Data data = make_data(s, seed);
    const Result result = solve(s, iterations, data);
    CHECK(result.intact);
    const reference::Pdhg problem = reference_problem(s, iterations);
    for (int n = 0; n < s.solves; ++n) {
        const auto z = image_of(s, data, n), map = map_of(s, data, n);
        // Values are of order 1 and each step contracts the rounding of those before: some ten units of the
        // last place (6e-8).
        const auto run = reference::pdhg_forward(problem, z, map);
        CHECK(largest_error(result.x.data() + n * s.pixels(), run.x) < 2e-6);

        const auto e = decisions_of(s, iterations, result, n);
        // The recorded decisions are the ones taken: imposed on the reference they lead to the same x.
        const auto imposed = reference::pdhg_forward(problem, z, map, &e);
        CHECK(largest_error(result.x.data() + n * s.pixels(), imposed.x) < 2e-6);

        // The adjoint is linear once e is fixed: only rounding of T additions remains (3e-7 seen). It is
        // measured against d_Λ, or where d_Λ nearly cancels (the image has merged, or a scalar map's sum over
        // all pixels) against what enters.
        const reference::Plane d_x(data.d_x.data() + n * s.pixels(), data.d_x.data() + (n + 1) * s.pixels());
        const auto d = reference::pdhg_adjoint(problem, e, d_x);
        const auto d_map = reduce_map(s, d.lambda);
        const reference::Plane zero(d_map.size(), 0.0);
        const float* d_lambda = result.d_lambda.data() + n * s.map_size();
        const double scale =
            std::max(distance(d_map, zero), 0.1 * distance(d_x, reference::Plane(d_x.size())));
        CHECK(distance(reference::Plane(d_lambda, d_lambda + s.map_size()), d_map) < 2e-6 * scale);
        const float* d_z = result.d_z.data() + n * s.pixels();
        CHECK(distance(reference::Plane(d_z, d_z + s.pixels()), d.z) <
              2e-6 * distance(d.z, reference::Plane(d.z.size())));
    }
}

}  // namespace

TEST_CASE("reference: the transposed gradient is the transpose") {
    for (const auto& [h, w] : std::vector<std::pair<int, int>>{{1, 1}, {1, 5}, {4, 1}, {2, 2}, {7, 5}}) {
        for (const bool neumann : {false, true}) {
            reference::Pdhg s;
            s.height = h, s.width = w, s.neumann = neumann;
            std::mt19937 engine(3);
            std::normal_distribution<double> normal;
            reference::Plane x(std::size_t(h) * w), q(2 * x.size());
            for (auto& v : x) v = normal(engine);
            for (auto& v : q) v = normal(engine);
            double left = 0, right = 0;
            const auto g = reference::gradient(s, x), c = reference::gradient_transposed(s, q);
            for (std::size_t i = 0; i < q.size(); ++i) left += g[i] * q[i];
            for (std::size_t i = 0; i < x.size(); ++i) right += x[i] * c[i];
            CHECK(std::abs(left - right) < 1e-12);  // sums of some 70 terms of order 1
        }
    }
}

TEST_CASE("reference: adjoint against finite differences") {
    for (const bool neumann : {false, true}) {
        for (const bool start_at_image : {false, true}) {
            const reference::Pdhg s{5, 7, 14, 0.3, 0.35, 0.9, neumann, start_at_image};
            std::mt19937 engine(5);
            std::uniform_real_distribution<double> uniform(0.0, 1.0);
            reference::Plane z(35), lambda(70), weight(35);
            for (auto& v : z) v = uniform(engine);
            for (auto& v : lambda) v = 0.02 + 0.1 * uniform(engine);
            for (auto& v : weight) v = uniform(engine) - 0.5;
            const auto run = reference::pdhg_forward(s, z, lambda);
            const auto d = reference::pdhg_adjoint(s, run.e, weight);
            const auto slope = [&](reference::Plane& where, std::size_t i) {
                const double step = 1e-6, old = where[i];
                double loss[2];
                for (int side = 0; side < 2; ++side) {
                    where[i] = old + (side ? step : -step);
                    const auto moved = reference::pdhg_forward(s, z, lambda);
                    REQUIRE(moved.e == run.e);  // no kink in between, so the loss is quadratic at most
                    loss[side] = 0;
                    for (std::size_t j = 0; j < 35; ++j) loss[side] += weight[j] * moved.x[j];
                }
                where[i] = old;
                return (loss[1] - loss[0]) / (2 * step);
            };
            // x_T is linear in z and Λ between kinks: only cancellation, 1e-16/1e-6, is left.
            for (std::size_t i = 0; i < 70; ++i) CHECK(std::abs(slope(lambda, i) - d.lambda[i]) < 1e-8);
            for (std::size_t i = 0; i < 35; ++i) CHECK(std::abs(slope(z, i) - d.z[i]) < 1e-8);
        }
    }
}

TEST_CASE("operator norm") {
    // Even periodic sizes reach √(1+4+4); 1×1 has no differences; power iteration on odd sizes.
    CHECK(pdhg_operator_norm(256, 64, Boundary::periodic) == doctest::Approx(3.0).epsilon(1e-14));
    CHECK(pdhg_operator_norm(1, 1, Boundary::periodic) == 1.0);
    CHECK(pdhg_operator_norm(1, 1, Boundary::neumann) == 1.0);
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
        reference::Pdhg s;
        s.height = 5, s.width = 3, s.neumann = boundary == Boundary::neumann;
        reference::Plane x(15);
        for (std::size_t i = 0; i < 15; ++i) x[i] = std::sin(1.0 + 2.3 * double(i * i));
        double squared = 0;
        for (int k = 0; k < 3000; ++k) {
            const auto c = reference::gradient_transposed(s, reference::gradient(s, x));
            squared = 0;
            for (std::size_t i = 0; i < 15; ++i) x[i] += c[i], squared += x[i] * x[i];
            for (auto& v : x) v /= std::sqrt(squared);
        }
        // Power iteration on 1 + ∇ᵀ∇: its norm of growth is L².
        CHECK(pdhg_operator_norm(5, 3, boundary) ==
              doctest::Approx(std::sqrt(std::sqrt(squared))).epsilon(1e-9));
    }
}

TEST_CASE("forward and adjoint against the double reference") {
    const std::pair<int, int> sizes[] = {{1, 1},  {1, 2}, {1, 37}, {37, 1},  {2, 2},
                                         {2, 17}, {3, 5}, {4, 16}, {17, 31}, {32, 33}};
    for (const auto& [h, w] : sizes) {
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
                for (const DualStart start : {DualStart::zero, DualStart::image}) {
                    PdhgProblem s = problem_of(h, w, map, 2);
                    s.boundary = boundary;
                    s.dual_start = start;
                    compare_with_reference(s, 37, unsigned(h * 100 + w));
                }
            }
        }
    }
}

TEST_CASE("other steps, and 256 iterations") {
    PdhgProblem s = problem_of(17, 31, MapKind::separate, 1);
    s.tau = 0.2f, s.sigma = 0.5f, s.theta = 0.7f;
    compare_with_reference(s, 50, 1);
    compare_with_reference(problem_of(64, 64, MapKind::shared, 1), 256, 2);
    s = problem_of(65, 41, MapKind::separate, 1);
    s.boundary = Boundary::neumann;
    compare_with_reference(s, 256, 3);
    compare_with_reference(problem_of(255, 257, MapKind::shared, 1), 11, 4);
}

TEST_CASE("equality with the map counts as inside") {
    // The first step's v is σ·(±0.5) = ±0.125 exactly.
    PdhgProblem s = problem_of(1, 2, MapKind::scalar);
    s.tau = s.sigma = 0.25f;
    const Floats z = {0.25f, 0.75f};
    for (const float lambda : {0.125f, std::nextafter(0.125f, 0.0f)}) {
        const Data data{z, {lambda}, {1.0f, 0.0f}};
        const auto e = decisions_of(s, 1, solve(s, 1, data), 0);
        const signed char outside = lambda < 0.125f ? 1 : 0;
        CHECK(e[0] == reference::Decisions{0, 0, outside, static_cast<signed char>(-outside)});
    }
}

TEST_CASE("a map that is not a number shows in the result") {
    for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        const PdhgProblem s = problem_of(9, 21, map);
        Data data = make_data(s, 5);
        data.lambda.assign(data.lambda.size(), std::numeric_limits<float>::quiet_NaN());
        for (const float x : denoise(s, 3, data.z, data.lambda)) CHECK(std::isnan(x));
    }
}

TEST_CASE("closed forms: constant image, no regularisation, much of it") {
    PdhgProblem s = problem_of(9, 21, MapKind::scalar);
    const Data data = make_data(s, 61);
    const std::size_t pixels = std::size_t(s.pixels());
    const Floats constant(pixels, 0.37f);
    CHECK(same_bits(denoise(s, 100, constant, {0.1f}), constant));
    CHECK(same_bits(denoise(s, 100, data.z, {0.0f}), data.z));
    double mean = 0;
    for (const float v : data.z) mean += v / double(pixels);
    // Converged to rounding after 4000 steps; x then moves by units of the last place, 6e-8.
    for (const float v : denoise(s, 4000, data.z, {100.0f})) CHECK(std::abs(v - mean) < 2e-6);
}

TEST_CASE("closed form: a step in one dimension") {
    // n pixels at 0.2, then n at 0.8. Each level moves towards the other by λ/n for every jump that it has:
    // two under periodic boundaries, one under Neumann.
    const int n = 20;
    const float lambda = 0.5f;
    for (const bool across : {false, true}) {
        for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
            PdhgProblem s = problem_of(across ? 2 * n : 1, across ? 1 : 2 * n, MapKind::scalar);
            s.boundary = boundary;
            Floats z(std::size_t(2 * n), 0.2f);
            std::fill(z.begin() + n, z.end(), 0.8f);
            const Floats x = denoise(s, 4000, z, {lambda});
            const double shift = (boundary == Boundary::periodic ? 2 : 1) * lambda / n;
            // Converged to rounding, as above.
            for (int j = 0; j < n; ++j) CHECK(std::abs(x[std::size_t(j)] - (0.2 + shift)) < 2e-6);
            for (int j = n; j < 2 * n; ++j) CHECK(std::abs(x[std::size_t(j)] - (0.8 - shift)) < 2e-6);
        }
    }
}

TEST_CASE("the primal-dual gap") {
    for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
            PdhgProblem s = problem_of(17, 31, map);
            s.boundary = boundary;
            const Data data = make_data(s, 71);
            const std::size_t pixels = std::size_t(s.pixels());
            Floats x(pixels), x_bar(pixels), p(pixels), q(2 * pixels);
            const PdhgState state{x.data(), x_bar.data(), p.data(), q.data()};
            // By definition, from the reference's operators.
            denoise(s, 10, data.z, data.lambda, &state);
            const reference::Pdhg r = reference_problem(s, 0);
            const reference::Plane z(data.z.begin(), data.z.end()), lambda = map_of(s, data, 0);
            const auto g = reference::gradient(r, {x.begin(), x.end()});
            const auto c = reference::gradient_transposed(r, {q.begin(), q.end()});
            double primal = 0, dual = 0;
            for (std::size_t i = 0; i < pixels; ++i) {
                primal += 0.5 * (x[i] - z[i]) * (x[i] - z[i]);
                dual += 0.5 * z[i] * z[i] - 0.5 * (z[i] - c[i]) * (z[i] - c[i]);
            }
            for (std::size_t i = 0; i < 2 * pixels; ++i) primal += lambda[i] * std::abs(g[i]);
            const cpu::PdhgGap early =
                cpu::pdhg_gap(s, data.z.data(), data.lambda.data(), x.data(), q.data());
            CHECK(early.primal == doctest::Approx(primal).epsilon(1e-12));  // both sums are in double
            CHECK(early.gap == doctest::Approx(primal - dual).epsilon(1e-10));
            CHECK(early.gap > 0);
            // It closes: what is left is the rounding of x and q (6e-8 relative) against jumps and Λ.
            denoise(s, 4000, data.z, data.lambda, &state);
            const cpu::PdhgGap late = cpu::pdhg_gap(s, data.z.data(), data.lambda.data(), x.data(), q.data());
            CHECK(late.relative() < 1e-5);
            CHECK(late.relative() > -1e-6);
        }
    }
}
