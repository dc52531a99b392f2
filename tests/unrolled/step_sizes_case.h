// The solver with learned steps on small data: on any backend, and in double.
#pragma once
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/graph/algorithms.h"
#include "engine/graph/operations.h"
#include "engine/unrolled/step_sizes.h"
#include "tests/reference/pdhg.h"
#include "tests/support/recording.h"

namespace tvmap::tests {

/// Steps of the iterations 0 … T−1, in double, from s.
inline std::vector<reference::PdhgSteps> reference_steps(const PerStepKind<Doubles>& raw, double norm,
                                                         int iterations) {
    const auto sigmoid = [](double s) { return 1 / (1 + std::exp(-s)); };
    std::vector<reference::PdhgSteps> steps;
    for (int k = 0; k < iterations; ++k) {
        const std::size_t at = std::min(std::size_t(k), raw[0].size() - 1);
        steps.push_back({sigmoid(raw[0][at]) / norm, sigmoid(raw[1][at]) / norm, sigmoid(raw[2][at])});
    }
    return steps;
}

/// What a case of the solver with learned steps is made of, and its loss in double.
struct StepsCase {
    int images = 1, height = 7, width = 9, iterations = 6, maps = 1;
    StepTraining training{6, 3, {}};
    Boundary boundary = Boundary::periodic;
    DualStart dual_start = DualStart::zero;
    int passes = 1;  ///< 2: the result is denoised again, with the same map and the same steps

    Doubles z, lambda, target;
    PerStepKind<Doubles> raw;

    void fill(unsigned seed) {
        std::mt19937 generator(seed);
        const std::size_t pixels = std::size_t(images) * height * width;
        z = random_values(generator, pixels, 0, 1);
        target = random_values(generator, pixels, 0, 1);
        lambda = random_values(generator, pixels * maps, 0.02, 0.15);
        for (Doubles& s : raw) s = random_values(generator, training.count, -1, 3);
    }

    /// Mean squared error of all images.
    double loss() const {
        reference::Pdhg solver{height, width, iterations};
        solver.neumann = boundary == Boundary::neumann;
        solver.start_at_image = dual_start == DualStart::image;
        solver.own_steps = reference_steps(raw, training.norm, iterations);
        const std::size_t pixels = std::size_t(height) * width;
        double sum = 0;
        for (int n = 0; n < images; ++n) {
            Doubles x(z.begin() + n * pixels, z.begin() + (n + 1) * pixels);
            Doubles map(lambda.begin() + n * maps * pixels, lambda.begin() + (n + 1) * maps * pixels);
            if (maps == 1) map.insert(map.end(), map.begin(), map.begin() + pixels);
            for (int pass = 0; pass < passes; ++pass) x = reference::pdhg_forward(solver, x, map).x;
            for (std::size_t i = 0; i < pixels; ++i) sum += std::pow(x[i] - target[n * pixels + i], 2);
        }
        return sum / double(images * pixels);
    }

    /// ∂loss/∂values along `direction`, by central differences. A clip that changes sides on the way changes
    /// the loss by less than the difference's own error.
    double slope(Doubles& values, const Doubles& direction) const {
        constexpr double h = 1e-6;
        const Doubles here = values;
        const auto at = [&](double t) {
            for (std::size_t i = 0; i < values.size(); ++i) values[i] = here[i] + t * direction[i];
            return loss();
        };
        const double result = (at(h) - at(-h)) / (2 * h);
        values = here;
        return result;
    }
};

/// The same on a backend: x, loss and all gradients.
struct StepsOutcome {
    std::vector<float> x;
    double loss = 0;
    Doubles d_z, d_lambda;
    PerStepKind<Doubles> d_raw;
};

inline Doubles read(Backend& backend, const View& view) {
    std::vector<float> host(std::size_t(view.shape.size()));
    backend.download(host.data(), view.data, sizeof(float) * host.size());
    return {host.begin(), host.end()};
}

inline StepsOutcome run(Backend& backend, const StepsCase& c) {
    Graph graph(1);
    const Value z = graph.input("z", c.images, 1, c.height, c.width, true),
                lambda = graph.input("lambda", c.images, c.maps, c.height, c.width, true),
                target = graph.input("target", c.images, 1, c.height, c.width);
    PdhgProblem problem;
    problem.boundary = c.boundary;
    problem.dual_start = c.dual_start;
    Value x = z;
    for (int pass = 0; pass < c.passes; ++pass)
        x = denoise_with_steps(graph, x, lambda, problem, c.iterations, c.training);
    graph.keep(x);
    loss(graph, x, target, LossKind::mse);
    Algorithms algorithms;
    Plan plan(std::move(graph), backend, algorithms, true);
    Parameters parameters(backend, plan.graph().parameters(), true);
    const Arena arena(backend, plan.arena_bytes());
    plan.bind(arena, parameters);
    if (!backend.separate_memory()) poison(arena);
    Doubles raw;
    for (const Doubles& s : c.raw) raw.insert(raw.end(), s.begin(), s.end());
    parameters.set_host_weights(to_float(raw));
    for (const auto& [value, given] : {std::pair{z, &c.z}, {lambda, &c.lambda}, {target, &c.target}})
        backend.upload(plan.view(value).data, to_float(*given).data(), sizeof(float) * given->size());
    plan.forward();
    plan.backward();

    StepsOutcome outcome;
    outcome.x = to_float(read(backend, plan.view(x)));
    outcome.loss = plan.loss();
    outcome.d_z = read(backend, plan.gradient(z));
    outcome.d_lambda = read(backend, plan.gradient(lambda));
    const std::vector<float> gradients = parameters.host_gradients();
    for (std::size_t kind = 0; kind < 3; ++kind) {
        const auto from = gradients.begin() + parameters.list()[kind].offset;
        outcome.d_raw[kind] = {from, from + c.training.count};
    }
    return outcome;
}

}  // namespace tvmap::tests
