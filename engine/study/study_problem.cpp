#include "engine/study/study_problem.h"

#include <algorithm>

#include "engine/config/solver_problem.h"
#include "engine/config/solver_words.h"
#include "engine/solver/exact_family.h"
#include "engine/solver/search.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

std::variant<PdhgProblem, SolverProblem> problem_of(const Config& config, int side) {
    if (is_plain(config.solver)) return pdhg_problem(config.solver, config.map, 1, side, side);
    return family_problem(config.solver, config.map, 1, side, side);
}

}  // namespace

StudyProblem::StudyProblem(const Config& config, int side)
    : problem_(problem_of(config, side)), kernel_(blur_kernel(config.solver.observation)) {}

int StudyProblem::maps() const {
    if (const auto* family = std::get_if<SolverProblem>(&problem_)) return family->maps();
    return std::get<PdhgProblem>(problem_).map == MapKind::separate ? 2 : 1;
}

double StudyProblem::usual_scale(int map) const {
    const auto* family = std::get_if<SolverProblem>(&problem_);
    if (!family || family->regulariser != Regulariser::tgv) return 1;
    const int first_of_w = family->map == MapKind::separate ? 2 : 1;
    return map < first_of_w ? 1 : SearchOptions().second;
}

UnrolledProblem StudyProblem::on(Backend& backend) const {
    return std::visit([&](const auto& problem) { return unrolled_problem(backend, problem); }, problem_);
}

const float* StudyProblem::data_of(const Example& example) const {
    return kernel_.empty() ? example.weights.data() : kernel_.data();
}

ExactRun StudyProblem::run(int iterations, const Example& e) const {
    if (const auto* family = std::get_if<SolverProblem>(&problem_))
        return ExactFamily(*family, data_of(e)).run(iterations, e.noisy.data(), e.lambda.data());
    return exact_run(std::get<PdhgProblem>(problem_), iterations, e.noisy.data(), e.lambda.data());
}

std::vector<double> StudyProblem::gradient(int iterations, const Example& e, const ClipDecisions& decisions,
                                           const std::vector<double>& d_x) const {
    if (const auto* family = std::get_if<SolverProblem>(&problem_))
        return ExactFamily(*family, data_of(e)).gradient(iterations, decisions, d_x);
    return exact_gradient(std::get<PdhgProblem>(problem_), iterations, decisions, d_x);
}

ClipDecisions StudyProblem::unpack(int iterations, const Example& e, const std::uint8_t* masks) const {
    if (const auto* family = std::get_if<SolverProblem>(&problem_))
        return ExactFamily(*family, data_of(e)).unpack(iterations, masks);
    return unpack_decisions(std::get<PdhgProblem>(problem_), iterations, masks);
}

ExampleInput::ExampleInput(Backend& backend, const StudyProblem& problem, const Example& e)
    : z_(backend, e.noisy.data(), e.noisy.size()),
      lambda_(backend, e.lambda.data(), e.lambda.size()),
      weights_(backend, e.weights.data(), e.weights.size()),
      input_{.b = z_.data(), .lambda = lambda_.data()} {
    const auto* family = std::get_if<SolverProblem>(&problem.problem_);
    if (!family) return;
    observed_.emplace(backend, *family, problem.kernel_);
    workspace_.emplace(backend, observed_->workspace_bytes());
    input_ = observed_->make(z_.data(), weights_.data(), lambda_.data(), workspace_->data());
    backend.synchronise();
}

void check_study_sizes(const Config& config) {
    if (config.noise.source != NoiseSource::simulated)
        fail("noise.source: a study compares with clean images; give simulated, and such images");
    if (config.network.predicts_image) fail("network.output: a study is of the solver; give map");
    for (const int side : config.study.sizes)
        check_observed(config.solver.observation, side, "study.sizes",
                       [](const std::string& key) { return key; });
}

std::string study_problem_line(const SolverConfig& solver) {
    if (is_plain(solver)) return "";
    return text("solver.regulariser: ", word_of(regulariser_words, solver.regulariser),
                ", solver.operator: ", word_of(sight_words, solver.observation.sight),
                "; the best scalar of an image is that of tv with the same operator");
}

std::string study_steps_warning(const Config& config) {
    if (is_plain(config.solver)) return "";
    int side = config.data.size;
    for (const int size : config.study.sizes) side = std::max(side, size);
    return solver_step_warning(family_problem(config.solver, config.map, 1, side, side));
}

}  // namespace tvmap
