#include "engine/unrolled/step_sizes.h"

#include <algorithm>
#include <cmath>

#include "engine/config/solver_problem.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

// Further out, s has hardly an effect in single precision, and a step must not become 0. sigmoid(16)
// is 1.1e-7 short of 1, more than rounding to float can add: στL² stays below 1.
constexpr double raw_bound = 16;
// Where s starts at most: further out, its gradient is too small to start from.
constexpr double start_bound = 10;

double sigmoid(double s) { return 1 / (1 + std::exp(-s)); }
double bounded(float s) { return std::clamp(double(s), -raw_bound, raw_bound); }

float start_of(double fraction) {
    const double s = std::log(fraction) - std::log1p(-std::min(fraction, 1.0));
    return float(std::clamp(s, -start_bound, start_bound));
}

std::int64_t state_plane(const PdhgProblem& problem) {
    return (problem.solves * problem.pixels() + 15) / 16 * 16;  // every plane starts at 64 bytes
}

}  // namespace

StepTraining step_training(const SolverConfig& solver, const PdhgProblem& problem) {
    const double norm =
        step_norm(solver, pdhg_operator_norm(problem.height, problem.width, problem.boundary));
    return {solver.train_steps == TrainSteps::per_step ? solver.iterations : 1,
            norm,
            {start_of(problem.tau * norm), start_of(problem.sigma * norm), start_of(problem.theta)}};
}

StepSizes::StepSizes(const StepTraining& training, const PerStepKind<std::vector<float>>& raw)
    : norm_(training.norm), raw_(raw) {
    for (std::size_t kind = 0; kind < raw.size(); ++kind)
        for (const float s : raw[kind])
            if (!std::isfinite(s))
                fail(step_parameter_names[kind], " is ", s, "; try a smaller optimiser.rate");
    for (int k = 0; k < training.count; ++k) {
        tau_.push_back(float(sigmoid(bounded(raw[0][k])) / norm_));
        sigma_.push_back(float(sigmoid(bounded(raw[1][k])) / norm_));
        theta_.push_back(float(sigmoid(bounded(raw[2][k]))));
    }
}

PdhgProblem StepSizes::at(PdhgProblem problem, int k) const {
    problem.tau = tau_[triple(k)];
    problem.sigma = sigma_[triple(k)];
    problem.theta = theta_[triple(k)];
    return problem;
}

// sigmoid′(s) = sigmoid(s)·sigmoid(−s). Outside its bounds s keeps the slope of the bound, so that it can
// come back.
PerStepKind<std::vector<float>> StepSizes::raw_gradient(const std::vector<double>& d_steps) const {
    const PerStepKind<double> scale{1 / norm_, 1 / norm_, 1};
    PerStepKind<std::vector<float>> gradient;
    for (std::size_t kind = 0; kind < gradient.size(); ++kind)
        for (int k = 0; k < count(); ++k) {
            const double s = bounded(raw_[kind][k]);
            gradient[kind].push_back(float(scale[kind] * sigmoid(s) * sigmoid(-s) * d_steps[3 * k + kind]));
        }
    return gradient;
}

StepSizes read_step_sizes(Backend& backend, const StepTraining& training,
                          const std::vector<const float*>& parameters) {
    PerStepKind<std::vector<float>> raw;
    for (std::size_t kind = 0; kind < raw.size(); ++kind) {
        raw[kind].resize(training.count);
        backend.download(raw[kind].data(), parameters[kind], sizeof(float) * raw[kind].size());
    }
    return {training, raw};
}

std::int64_t state_floats(const PdhgProblem& problem) { return 5 * state_plane(problem); }

PdhgState state_in(float* memory, const PdhgProblem& problem) {
    const std::int64_t plane = state_plane(problem);
    return {memory, memory + plane, memory + 2 * plane, memory + 3 * plane};
}

void pdhg_forward_with_steps(Backend& backend, const PdhgProblem& problem, const StepSizes& steps, int from,
                             int to, const PdhgInput& input, PdhgOutput output,
                             const PdhgWorkspace& workspace) {
    for (int k = from, end = from; k < to; k = end) {
        end = steps.same_until(k, to);
        output.start_from_state = k > 0;
        backend.pdhg_forward(steps.at(problem, k), end - k, input, output, workspace);
    }
}

}  // namespace tvmap
