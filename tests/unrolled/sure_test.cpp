// SURE of the unrolled solver with one number λ. Its divergence has an exact value through the recorded decisions,
// bᵀJb = ⟨b, Jᵀb⟩ by the adjoint. As a value that is right, and to train on it would be wrong: for fixed decisions
// the solver is affine in (z, Λ), so that J is constant in λ almost everywhere, and all of its dependence sits in the
// jumps. The gradient that is left is the residual's, which shrinks λ. (The same holds of any nonsmooth regulariser:
// Deledalle, Vaiter, Fadili and Peyré, SIAM J. Imaging Sci. 7, 2014.) A finite difference of finite ε sees the jumps.
#include "engine/graph/sure.h"

#include <doctest/doctest.h>

#include "engine/data/phantoms.h"
#include "engine/graph/operations.h"
#include "kernels/training/random.h"
#include "tests/reference/training.h"
#include "tests/support/recording.h"
#include "tests/unrolled/gradient_modes_case.h"

using namespace tvmap;
using namespace tvmap::tests;
using gradient_modes_case::Data;

namespace {

constexpr int side = 64, iterations = 256;
constexpr double sigma = 0.1, lambda = 0.02;
constexpr std::size_t pixels = std::size_t(side) * side;

PdhgProblem problem() {
    PdhgProblem s;
    s.solves = 1;
    s.height = s.width = side;
    s.map = MapKind::shared;
    return s;
}

reference::Pdhg in_double() {
    reference::Pdhg s;
    s.height = s.width = side;
    s.iterations = iterations;
    s.tau = s.sigma = problem().tau;
    return s;
}

/// A crop of a phantom, its noisy image and a probe b of normal numbers.
struct Case {
    Doubles x, z, b;

    Case() {
        const std::vector<float> whole = phantom(11, 0, 2 * side);
        std::vector<float> clean, noisy(pixels), normal(pixels);
        for (int i = 0; i < side; ++i)
            clean.insert(clean.end(), &whole[std::size_t((i + side / 2) * 2 * side + side / 2)],
                         &whole[std::size_t((i + side / 2) * 2 * side + side / 2)] + side);
        cpu::add_noise(1, 1, 0, pixels, clean.data(), float(sigma), noisy.data());
        cpu::normal_numbers(1, Purpose::probe, 1, 0, 0, pixels, normal.data());
        x.assign(clean.begin(), clean.end());
        z.assign(noisy.begin(), noisy.end());
        b.assign(normal.begin(), normal.end());
    }

    Doubles moved(double epsilon) const {
        Doubles at = z;
        for (std::size_t i = 0; i < pixels; ++i) at[i] += epsilon * sigma * b[i];
        return at;
    }
    Doubles solved(double of_lambda, const Doubles& image) const {
        return reference::pdhg_forward(in_double(), image, Doubles(2 * pixels, of_lambda)).x;
    }
    double mse(double of_lambda) const { return reference::loss(false, solved(of_lambda, z), x, 1); }

    /// z, v: what SURE compares with.
    Doubles target() const {
        Doubles both = z;
        for (const double number : b) both.push_back(sigma * number);
        return both;
    }
    double sure(double of_lambda, double epsilon) const {
        Doubles both = solved(of_lambda, moved(epsilon));
        const Doubles second = solved(of_lambda, moved(-epsilon));
        both.insert(both.end(), second.begin(), second.end());
        return reference::sure(epsilon, both, target(), 1);
    }
    double difference_quotient(double epsilon) const {
        const Doubles up = solved(lambda, moved(epsilon)), down = solved(lambda, moved(-epsilon));
        double sum = 0;
        for (std::size_t i = 0; i < pixels; ++i) sum += b[i] * (up[i] - down[i]) / (2 * epsilon * sigma);
        return sum;
    }
};

/// Loss and its derivative in λ, by the engine's graph.
struct Trained {
    double loss = 0, slope = 0;
};

/// With epsilon SURE, else, with 0, the mean squared error against z.
Trained train(const Case& c, double epsilon) {
    const auto backend = make_backend("cpu");
    Graph graph(1);
    const int images = epsilon > 0 ? 2 : 1;
    const Value noisy = graph.input("noisy", images, 1, side, side);
    const Value map = graph.input("lambda", images, 1, side, side, true);
    const Value target = graph.input("target", images, 1, side, side);
    const Value x = denoise(graph, noisy, map, problem(), iterations);
    if (epsilon > 0)
        sure(graph, x, target, epsilon);
    else
        loss(graph, x, target, LossKind::mse);
    Algorithms algorithms;
    Plan plan(std::move(graph), *backend, algorithms, true);
    const Parameters parameters(*backend, plan.graph().parameters(), true);
    const Arena arena(*backend, plan.arena_bytes());
    plan.bind(arena, parameters);
    Doubles fed = c.moved(epsilon);
    if (epsilon > 0) {
        const Doubles second = c.moved(-epsilon);
        fed.insert(fed.end(), second.begin(), second.end());
    }
    set_input(plan, noisy, fed);
    set_input(plan, map, Doubles(fed.size(), lambda));
    set_input(plan, target, epsilon > 0 ? c.target() : c.z);
    plan.forward();
    plan.backward();
    Trained trained{plan.loss()};
    for (const float d : floats(plan.gradient(map))) trained.slope += d;
    return trained;
}

/// ⟨b, Jᵀb⟩ by the solver's adjoint.
double exact_divergence(const Case& c) {
    const gradient_modes_case::Gradient adjoint = gradient_modes_case::run_mode(
        problem(), iterations, gradient_modes_case::mode_of("masks"),
        {to_float(c.z), pdhg_case::Floats(pixels, float(lambda)), to_float(c.b)});
    double sum = 0;
    for (std::size_t i = 0; i < pixels; ++i) sum += c.b[i] * double(adjoint.d_z[i]);
    return sum;
}

double relative(double value, double exact) { return std::abs(value - exact) / std::abs(exact); }

}  // namespace

TEST_CASE("the exact divergence is the value that finite differences tend to") {
    const Case c;
    const double exact = exact_divergence(c);
    MESSAGE("divergence of a pixel " << exact / pixels << "; by differences of 1e-6, 0.01, 0.1, 0.3 σ "
                                     << c.difference_quotient(1e-6) / pixels << ", "
                                     << c.difference_quotient(0.01) / pixels << ", "
                                     << c.difference_quotient(0.1) / pixels << ", "
                                     << c.difference_quotient(0.3) / pixels);
    // A millionth of σ turns hardly a decision; single precision turns some near a tie, a pixel's weight each.
    CHECK(std::abs(exact - c.difference_quotient(1e-6)) < 1e-3 * std::abs(exact));
    // A larger step crosses jumps of both signs, in some per cent of the pixels.
    CHECK(std::abs(exact - c.difference_quotient(0.1)) < 0.03 * std::abs(exact));
    CHECK(exact > 0);
    CHECK(exact < double(pixels));  // for fixed Λ the solver does not enlarge distances
}

TEST_CASE("SURE's loss and gradient are those of double precision") {
    const Case c;
    const double epsilon = 0.1;
    const Trained trained = train(c, epsilon);
    // The solver's single precision, 1e-6 of results that differ by some 0.1·σ, of 2σ²/ε times that in the loss.
    CHECK(relative(trained.loss, c.sure(lambda, epsilon)) < 1e-3);
    // The solver is piecewise affine in λ: a small step in double stays on the piece, but for few decisions.
    const double step = 1e-7;
    const double slope = (c.sure(lambda + step, epsilon) - c.sure(lambda - step, epsilon)) / (2 * step);
    CHECK(relative(trained.slope, slope) < 1e-2);
}

TEST_CASE("the exact divergence does not change with λ, and its SURE has a slope of the wrong sign") {
    const Case c;
    // The divergence depends on the decisions alone: the smallest change of λ leaves them, and it, to the bit.
    const auto exact_at = [&](double of_lambda) {
        const reference::PdhgRun run =
            reference::pdhg_forward(in_double(), c.z, Doubles(2 * pixels, of_lambda));
        const reference::PdhgGradient adjoint = reference::pdhg_adjoint(in_double(), run.e, c.b);
        double sum = 0;
        for (std::size_t i = 0; i < pixels; ++i) sum += c.b[i] * adjoint.z[i];
        return sum;
    };
    const double here = exact_at(lambda);
    CHECK(exact_at(lambda * (1 + 1e-12)) == here);
    CHECK(exact_at(lambda * 1.2) < here * 0.99);  // all that it changes by are jumps

    const double step = 0.1 * lambda;
    const double truth = (c.mse(lambda + step) - c.mse(lambda - step)) / (2 * step);
    const double wrong = train(c, 0).slope;  // of the residual; the divergence adds nothing
    MESSAGE("d MSE/dλ " << truth << "; SURE's slope with the exact divergence " << wrong);
    CHECK(truth < 0);  // λ is too small
    CHECK(wrong > 0);  // and would shrink
    for (const double epsilon : {0.03, 0.1, 0.3}) {
        const double slope = train(c, epsilon).slope;
        MESSAGE("and by a finite difference of " << epsilon << " σ " << slope);
        CHECK(slope < 0);
        // An estimate by one probe on so many pixels, the rougher the fewer jumps it sees: right to some tenths.
        if (epsilon >= 0.1) CHECK(relative(slope, truth) < 0.4);
    }
}
