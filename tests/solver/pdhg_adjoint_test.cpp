// The solver's adjoint in stretches, with one mask for all steps, from the middle; and the gradient for the
// step sizes.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/solver/pdhg.h"
#include "tests/reference/pdhg.h"
#include "tests/solver/pdhg_case.h"
#include "tests/solver/pdhg_stretches.h"
#include "tests/support/run_on.h"

using namespace pdhg_case;

namespace {

double norm(const auto& a) {
    double squared = 0;
    for (const double v : a) squared += v * v;
    return std::sqrt(squared);
}
double distance(const auto& a, const auto& b) {
    REQUIRE(a.size() == b.size());
    reference::Plane difference(a.begin(), a.end());
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= b[i];
    return norm(difference);
}

// The masks of T steps, each with the decisions of the one step.
std::vector<std::uint8_t> repeated(const PdhgProblem& s, int iterations,
                                   const std::vector<std::uint8_t>& one) {
    const std::ptrdiff_t bytes = std::ptrdiff_t(s.height) * ((s.width + 15) / 16) * 8;  // of one solve
    std::vector<std::uint8_t> all;
    for (int n = 0; n < s.solves; ++n) {
        for (int k = 0; k < iterations; ++k) {
            all.insert(all.end(), one.begin() + n * bytes, one.begin() + (n + 1) * bytes);
        }
    }
    all.resize(cpu::pdhg_mask_bytes(s, iterations));
    return all;
}

struct Gradient {
    Floats d_lambda, d_z;
};
Gradient adjoint(const PdhgProblem& s, int iterations, const std::vector<std::uint8_t>& masks,
                 const Data& data, PdhgAdjoint how, const Gradient* before = nullptr) {
    Gradient result = before != nullptr ? *before
                                        : Gradient{Floats(std::size_t(s.solves * s.map_size()), NAN),
                                                   Floats(pixels_of(s), NAN)};
    Guarded workspace(cpu::pdhg_workspace_bytes(s)), bits(masks.size());
    std::copy(masks.begin(), masks.end(), static_cast<std::uint8_t*>(bits.data()));
    how.masks = static_cast<const std::uint8_t*>(bits.data());
    if (!how.start_from_state) how.d_x = data.d_x.data();
    cpu::pdhg_adjoint(s, iterations, how,
                      {.d_lambda = result.d_lambda.data(),
                       .d_z = result.d_z.data(),
                       .write = before != nullptr ? Write::accumulate : Write::overwrite},
                      workspace);
    CHECK(workspace.intact());
    return result;
}

struct Variant {
    MapKind map;
    Boundary boundary;
    DualStart start;
};
std::vector<Variant> variants() {
    std::vector<Variant> all;
    for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
            for (const DualStart start : {DualStart::zero, DualStart::image}) {
                all.push_back({map, boundary, start});
            }
        }
    }
    return all;
}
PdhgProblem problem_of(int height, int width, const Variant& variant, int solves) {
    PdhgProblem s = pdhg_case::problem_of(height, width, variant.map, solves);
    s.boundary = variant.boundary;
    s.dual_start = variant.start;
    s.theta = 0.9f;
    return s;
}

}  // namespace

TEST_CASE("stretches give the d_z of one call to the bit, and its d_lambda to rounding") {
    for (const Variant& variant : variants()) {
        const PdhgProblem s = problem_of(19, 33, variant, 3);
        const Data data = make_data(s, 5);
        const Result whole = solve(s, 29, data);
        for (const std::vector<int>& lengths :
             {std::vector<int>{29}, {10, 9, 10}, {1, 1, 27}, std::vector<int>(29, 1), {12, 0, 17}}) {
            CAPTURE(lengths.size());
            const Stretches parts = solve_in_stretches(s, lengths, data);
            CHECK(same_bits(parts.x, whole.x));
            CHECK(same_bits(parts.d_z, whole.d_z));
            // Every stretch sums afresh and is rounded when it is added: 6e-8 of each partial sum.
            CHECK(distance(parts.d_lambda, whole.d_lambda) < 1e-6 * norm(whole.d_lambda));
            if (lengths.size() == 1) CHECK(same_bits(parts.d_lambda, whole.d_lambda));
            for (const int threads : {1, 2, 5, 7}) {  // fewer and more than solves: bands too
                const RunOn on(threads);
                const Stretches again = solve_in_stretches(s, lengths, data);
                CHECK(same_bits(again.x, parts.x));
                CHECK(same_bits(again.d_lambda, parts.d_lambda));
                CHECK(same_bits(again.d_z, parts.d_z));
                CHECK(same_bits(again.last, parts.last));
            }
        }
    }
}

TEST_CASE("a state's q across a Neumann border is not read") {
    PdhgProblem s = pdhg_case::problem_of(7, 18);
    s.boundary = Boundary::neumann;
    const Data data = make_data(s, 8);
    const Stretches parts = solve_in_stretches(s, {6, 6}, data);
    Floats d_z[2];
    for (const bool spoil : {false, true}) {
        AdjointIterates between = parts.last;
        if (spoil) {
            for (int j = 0; j < s.width; ++j) between.q[std::size_t((s.height - 1) * s.width + j)] = 5.0f;
            for (int i = 0; i < s.height; ++i)
                between.q[std::size_t(s.pixels() + (i + 1) * s.width - 1)] = 5.0f;
        }
        const PdhgAdjointState state = between.pointers();
        d_z[spoil] = adjoint(s, 6, parts.masks[0], data, {.state = &state, .start_from_state = true}).d_z;
    }
    CHECK(same_bits(d_z[0], d_z[1]));
}

TEST_CASE("one mask for all steps is that mask repeated") {
    for (const Variant& variant : variants()) {
        const PdhgProblem s = problem_of(11, 21, variant, 2);
        const Data data = make_data(s, 6);
        const Stretches run = solve_in_stretches(s, {15, 1}, data);
        const auto& one = run.masks[1];
        const Gradient expected = adjoint(s, 20, repeated(s, 20, one), data, {});
        const Gradient actual = adjoint(s, 20, one, data, {.one_mask = true});
        CHECK(same_bits(actual.d_lambda, expected.d_lambda));
        CHECK(same_bits(actual.d_z, expected.d_z));
    }
}

TEST_CASE("without the image, or without a sum carried, d_z is that of the steps alone") {
    for (const Variant& variant : variants()) {
        const PdhgProblem s = problem_of(13, 17, variant, 1);
        const Data data = make_data(s, 9);
        const int iterations = 12;
        const Result whole = solve(s, iterations, data);
        const Gradient middle = adjoint(s, iterations, whole.masks, data, {.from_image = false});
        CHECK(same_bits(middle.d_lambda, whole.d_lambda));
        // The reference's steps: d_z −= σP, and nothing at the end.
        std::vector<reference::Decisions> e;
        for (int k = 0; k < iterations; ++k) {
            e.emplace_back(std::size_t(2 * s.pixels()));
            cpu::pdhg_unpack_mask(s, iterations, whole.masks.data(), 0, k, e.back().data(),
                                  e.back().data() + s.pixels());
        }
        const reference::Pdhg problem{s.height,
                                      s.width,
                                      iterations,
                                      s.tau,
                                      s.sigma,
                                      s.theta,
                                      s.boundary == Boundary::neumann,
                                      s.dual_start == DualStart::image};
        std::vector<reference::PdhgAdjointStep> steps;
        reference::pdhg_adjoint(problem, e, {data.d_x.begin(), data.d_x.end()}, &steps);
        reference::Plane expected(std::size_t(s.pixels()), 0.0);
        for (const auto& step : steps) {
            for (std::size_t i = 0; i < expected.size(); ++i) expected[i] -= problem.sigma * step.p[i];
        }
        // Linear once e is fixed: the rounding of T additions.
        CHECK(distance(middle.d_z, expected) < 2e-6 * norm(expected));

        // The parts of d_z add up when no sum is carried.
        AdjointIterates iterates(s);
        PdhgAdjointState state = iterates.pointers();
        state.sum_p = nullptr;
        const Stretches parts = solve_in_stretches(s, {5, 7}, data);
        Gradient sum = adjoint(s, 7, parts.masks[1], data, {.state = &state, .from_image = false});
        sum = adjoint(s, 5, parts.masks[0], data, {.state = &state, .start_from_state = true}, &sum);
        CHECK(distance(sum.d_z, whole.d_z) < 1e-6 * norm(whole.d_z));
        CHECK(same_bits(sum.d_lambda, parts.d_lambda));
        for (const float v : iterates.sum_p) CHECK(std::isnan(v));
    }
}

TEST_CASE("reference: gradients for the steps agree with finite differences") {
    for (const bool neumann : {false, true}) {
        reference::Pdhg s{5, 7, 9, 0.3, 0.3, 1.0, neumann, neumann};
        reference::Plane z(35), lambda(70), weight(35);
        for (std::size_t i = 0; i < 35; ++i)
            z[i] = std::sin(2.1 * double(i * i)), weight[i] = std::cos(double(i));
        for (std::size_t i = 0; i < 70; ++i) lambda[i] = 0.06 + 0.05 * std::sin(0.7 * double(i));
        for (int k = 0; k < s.iterations; ++k) {
            s.own_steps.push_back({0.3 - 0.01 * k, 0.28 + 0.005 * k, k == 4 ? 0.0 : 0.5 + 0.05 * k});
        }
        const auto run = reference::pdhg_forward(s, z, lambda);
        const auto d = reference::pdhg_step_gradients(s, z, lambda, run.e, weight);
        for (std::size_t k = 0; k < d.size(); ++k) {
            CAPTURE(k);
            const auto slope = [&](double reference::PdhgSteps::*which) {
                const double step = 1e-5, old = s.own_steps[k].*which;
                double loss[2] = {};
                for (int side = 0; side < 2; ++side) {
                    s.own_steps[k].*which = old + (side ? step : -step);
                    const auto moved = reference::pdhg_forward(s, z, lambda);
                    REQUIRE(moved.e == run.e);  // no kink in between
                    for (std::size_t i = 0; i < 35; ++i) loss[side] += weight[i] * moved.x[i];
                }
                s.own_steps[k].*which = old;
                return (loss[1] - loss[0]) / (2 * step);
            };
            // Cancellation, 1e-16/1e-5, and the third derivative times 1e-10.
            CHECK(std::abs(slope(&reference::PdhgSteps::tau) - d[k].tau) < 1e-8);
            CHECK(std::abs(slope(&reference::PdhgSteps::sigma) - d[k].sigma) < 1e-8);
            CHECK(std::abs(slope(&reference::PdhgSteps::theta) - d[k].theta) < 1e-8);
        }
    }
}

TEST_CASE("gradients for the steps, each with its own, against the reference") {
    for (const Variant& variant : variants()) {
        PdhgProblem s = problem_of(15, 37, variant, 4);
        s.solves_per_image = 2;
        const Data data = make_data(s, 12);
        const int iterations = 10;
        std::vector<PdhgProblem> step;  // each step's
        reference::Pdhg problem{s.height,
                                s.width,
                                iterations,
                                0,
                                0,
                                0,
                                s.boundary == Boundary::neumann,
                                s.dual_start == DualStart::image};
        for (int k = 0; k < iterations; ++k) {
            step.push_back(s);
            step.back().tau = 0.33f - 0.01f * float(k);
            step.back().sigma = 0.28f + 0.005f * float(k);
            step.back().theta = k == 4 ? 0.0f : 0.5f + 0.05f * float(k);
            problem.own_steps.push_back({step.back().tau, step.back().sigma, step.back().theta});
        }

        Guarded workspace(cpu::pdhg_workspace_bytes(s)), sums(cpu::pdhg_step_gradients_workspace_bytes(s));
        std::vector<Iterates> iterates(1, Iterates(s));
        Floats x(pixels_of(s));
        std::vector<Guarded> masks;
        for (int k = 0; k < iterations; ++k) {
            iterates.push_back(iterates.back());
            const PdhgState state = iterates.back().pointers();
            masks.emplace_back(cpu::pdhg_mask_bytes(s, 1));
            cpu::pdhg_forward(step[std::size_t(k)], 1, {data.z.data(), data.lambda.data()},
                              {.x = x.data(),
                               .masks = static_cast<std::uint8_t*>(masks.back().data()),
                               .state = &state,
                               .start_from_state = k > 0},
                              workspace);
        }
        for (int n = 0; n < s.solves; ++n) {  // the start, which no call leaves behind
            const auto* image = data.z.data() + n / s.solves_per_image * s.pixels();
            std::copy_n(image, s.pixels(), iterates[0].x_bar.begin() + n * s.pixels());
        }

        std::vector<reference::PdhgSteps> actual(iterations);
        Gradient gradient{Floats(std::size_t(s.solves * s.map_size()), 0.0f), Floats(pixels_of(s), 0.0f)};
        AdjointIterates before(s), after(s);
        after.y = after.y_bar = data.d_x;
        for (Floats* zero : {&after.p, &after.q}) std::fill(zero->begin(), zero->end(), 0.0f);
        for (int k = iterations - 1; k >= 0; --k) {
            before = after;
            PdhgAdjointState state = after.pointers();
            state.sum_p = nullptr;
            PdhgProblem own = step[std::size_t(k)];
            if (k > 0) own.theta = step[std::size_t(k - 1)].theta;
            cpu::pdhg_adjoint(own, 1,
                              {.masks = static_cast<const std::uint8_t*>(masks[std::size_t(k)].data()),
                               .state = &state,
                               .start_from_state = true,
                               .from_image = k == 0},
                              {.d_lambda = gradient.d_lambda.data(),
                               .d_z = gradient.d_z.data(),
                               .write = Write::accumulate},
                              workspace);
            double d[3] = {1, 2, 3};
            const float next_sigma = k + 1 < iterations ? step[std::size_t(k + 1)].sigma : 1.0f;
            cpu::pdhg_step_gradients(step[std::size_t(k)],
                                     {.z = data.z.data(),
                                      .state = iterates[std::size_t(k)].pointers(),
                                      .next = iterates[std::size_t(k + 1)].pointers(),
                                      .adjoint_next = before.pointers(),
                                      .adjoint = state,
                                      .next_sigma = next_sigma},
                                     d, sums);
            actual[std::size_t(k)] = {d[0] - 1, d[1] - 2, d[2] - 3};
        }
        CHECK(workspace.intact());
        CHECK(sums.intact());

        std::vector<reference::PdhgSteps> expected(iterations, {0, 0, 0});
        for (int n = 0; n < s.solves; ++n) {
            std::vector<reference::Decisions> e;
            for (int k = 0; k < iterations; ++k) {
                e.emplace_back(std::size_t(2 * s.pixels()));
                cpu::pdhg_unpack_mask(s, 1, static_cast<const std::uint8_t*>(masks[std::size_t(k)].data()), n,
                                      0, e.back().data(), e.back().data() + s.pixels());
            }
            const auto plane = [](const Floats& all, std::int64_t offset, std::int64_t count) {
                return reference::Plane(all.begin() + offset, all.begin() + offset + count);
            };
            const auto z = plane(data.z, n / s.solves_per_image * s.pixels(), s.pixels());
            auto lambda = plane(data.lambda, n * s.map_size(), s.map_size());
            if (s.map == MapKind::scalar) lambda.assign(std::size_t(2 * s.pixels()), lambda[0]);
            if (s.map == MapKind::shared) {
                lambda.resize(std::size_t(2 * s.pixels()));
                std::copy_n(lambda.begin(), s.pixels(), lambda.begin() + s.pixels());
            }
            const auto d_x = plane(data.d_x, n * s.pixels(), s.pixels());
            const auto d = reference::pdhg_step_gradients(problem, z, lambda, e, d_x);
            for (std::size_t k = 0; k < d.size(); ++k) {
                expected[k].tau += d[k].tau;
                expected[k].sigma += d[k].sigma;
                expected[k].theta += d[k].theta;
            }
            // Steps of their own in d_Λ and d_z too.
            const auto image = reference::pdhg_adjoint(problem, e, d_x);
            CHECK(distance(plane(gradient.d_z, n * s.pixels(), s.pixels()), image.z) < 2e-6 * norm(image.z));
            if (s.map == MapKind::separate) {
                CHECK(distance(plane(gradient.d_lambda, n * s.map_size(), s.map_size()), image.lambda) <
                      2e-6 * norm(image.lambda));
            }
        }
        for (const auto which :
             {&reference::PdhgSteps::tau, &reference::PdhgSteps::sigma, &reference::PdhgSteps::theta}) {
            double error = 0, size = 0;
            for (std::size_t k = 0; k < expected.size(); ++k) {
                error = std::max(error, std::abs(actual[k].*which - expected[k].*which));
                size = std::max(size, std::abs(expected[k].*which));
            }
            // Products of iterates and gradients that are off by some 1e-6 each; their signs differ, so part
            // of the sums cancels (4e-6 seen).
            CHECK(error < 1e-5 * size);
        }
    }
}

TEST_CASE("a start from no state, and steps that do not converge, are refused") {
    PdhgProblem s = pdhg_case::problem_of(4, 4);
    const Data data = make_data(s, 1);
    const auto masks = solve(s, 1, data).masks;
    CHECK_THROWS_AS(adjoint(s, 1, masks, data, {.start_from_state = true}), Error);
    s.tau = 0.5f;  // τσL² = 1.5
    CHECK_THROWS_AS(cpu::pdhg_step_gradients(s, {}, nullptr, {}), Error);
}
