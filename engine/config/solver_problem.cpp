#include "engine/config/solver_problem.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/base/error.h"

namespace tvmap {
namespace {

// στL² ≤ 1 is met with equality by the usual steps; their rounding to fp32 exceeds it by a few 1e-7.
constexpr double step_slack = 1e-6;

template <class... Parts>
void require(bool holds, const KeyPlace& where, const std::string& key, const Parts&... message) {
    if (!holds) fail(where(key), ": ", message...);
}

/// τ and σ, where `norm` (of the operator) stands in for norm: auto.
struct Steps {
    double tau, sigma;
};
Steps steps(const SolverConfig& solver, double norm) {
    const double step = 1 / (solver.norm_auto ? norm : solver.norm);
    return {solver.tau > 0 ? solver.tau : step, solver.sigma > 0 ? solver.sigma : step};
}

}  // namespace

void check_steps(const SolverConfig& solver, bool plain, double norm, const std::string& operator_name,
                 const KeyPlace& where) {
    const auto [tau, sigma] = steps(solver, norm);
    const double product = tau * sigma * norm * norm;
    const double most = plain ? 1 : solver_step_bound(solver.theta);
    const std::string key = solver.tau > 0 ? "solver.tau" : solver.sigma > 0 ? "solver.sigma" : "solver.norm";
    require(product <= most * (1 + step_slack), where, key, "tau·sigma·L² is ", product, " with tau = ", tau,
            ", sigma = ", sigma, " and L = ", norm, " (", operator_name,
            "), and the iteration may diverge above ", most, "; give smaller steps, or ", norm,
            " as the norm");
    if (solver.train_steps == TrainSteps::none) return;
    const double bound = 1 / step_norm(solver, norm);
    for (const auto& [name, step] : {std::pair{"solver.tau", tau}, {"solver.sigma", sigma}})
        require(step <= bound * (1 + step_slack), where, name, step,
                " is out of the reach of learned steps, which start from it and stay below 1/L, ", bound,
                "; give that or less");
}

std::vector<float> blur_kernel(const ObservationConfig& observation) {
    if (observation.sight != Sight::blur) return {};
    const int size = observation.blur_size;
    std::vector<double> exact;
    const int middle = size / 2;
    double sum = 0;
    for (int i = 0; i < size; ++i)
        for (int j = 0; j < size; ++j) {
            const double a = i - middle, b = j - middle;
            exact.push_back(
                std::exp(-(a * a + b * b) / (2 * observation.blur_sigma * observation.blur_sigma)));
            sum += exact.back();
        }
    std::vector<float> kernel;
    for (const double value : exact) kernel.push_back(float(value / sum));
    return kernel;
}

double step_norm(const SolverConfig& solver, double operator_norm) {
    return solver.norm_auto ? operator_norm : std::max(solver.norm, operator_norm);
}

int map_count(const SolverConfig& solver, const MapConfig& map) {
    SolverProblem problem;
    problem.regulariser = solver.regulariser;
    problem.map = map.separate ? MapKind::separate : MapKind::shared;
    return problem.maps();
}

int map_count(const Config& config) {
    return config.network.predicts_image ? 0 : map_count(config.solver, config.map);
}

namespace {

/// Checks what concerns every problem, and gives messages their place.
KeyPlace checked_place(const SolverConfig& solver, int images, int height, int width, KeyPlace where) {
    const std::string images_name = text(images, "×", height, "×", width);
    if (images < 1 || height < 1 || width < 1)
        fail("solver on ", images_name, ": there is nothing to solve; give at least one pixel");
    if (!where) where = [=](const std::string& key) { return "solver on " + images_name + ": " + key; };
    check_solver(solver, where);
    return where;
}

}  // namespace

PdhgProblem pdhg_problem(const SolverConfig& solver, const MapConfig& map, int images, int height, int width,
                         KeyPlace where) {
    where = checked_place(solver, images, height, width, where);
    const double norm = pdhg_operator_norm(height, width, solver.boundary);
    check_steps(solver, true, norm, "for images of " + text(height, "×", width), where);

    PdhgProblem problem;
    problem.solves = images;
    problem.height = height;
    problem.width = width;
    problem.map = map.separate ? MapKind::separate : MapKind::shared;
    problem.boundary = solver.boundary;
    problem.dual_start = solver.dual_start;
    const auto [tau, sigma] = steps(solver, norm);
    problem.tau = float(tau);
    problem.sigma = float(sigma);
    problem.theta = float(solver.theta);
    return problem;
}

SolverProblem family_problem(const SolverConfig& solver, const MapConfig& map, int images, int height,
                             int width, KeyPlace where) {
    SolverProblem problem;
    problem.solves = images;
    problem.height = height;
    problem.width = width;
    problem.map = map.separate ? MapKind::separate : MapKind::shared;
    const ObservationConfig& o = solver.observation;
    problem.data = o.data();
    problem.own_start = o.sight == Sight::blur || o.sight == Sight::downsample || o.sight == Sight::poisson;
    if (o.sight == Sight::impulses) problem.threshold = float(o.threshold);
    if (o.sight == Sight::poisson) problem.gram_norm = most_weight;
    if (o.sight == Sight::blur) {
        problem.kernel_height = problem.kernel_width = o.blur_size;
        double sum = 0;  // of what is not negative: the response at frequency 0, the largest
        for (const float value : blur_kernel(o)) sum += value;
        problem.gram_norm = sum * sum;
    } else if (o.sight == Sight::downsample) {
        problem.factor = o.factor;
        problem.gram_norm = 1 / (double(o.factor) * o.factor);
    }
    return with_settings(solver, problem, std::move(where));
}

SolverProblem with_settings(const SolverConfig& solver, SolverProblem problem, KeyPlace where) {
    where = checked_place(solver, problem.solves, problem.height, problem.width, std::move(where));
    problem.regulariser = solver.regulariser;
    problem.boundary = solver.boundary;
    const double norm = std::sqrt(solver_norm_squared(problem));
    const bool plain = problem.regulariser == Regulariser::tv && problem.data == DataTerm::identity;
    check_steps(solver, plain, norm, text("for images of ", problem.height, "×", problem.width), where);
    const auto [tau, sigma] = steps(solver, norm);
    problem.tau = float(tau);
    problem.sigma = float(sigma);
    problem.theta = float(solver.theta);
    return problem;
}

}  // namespace tvmap
