#include "engine/model/map_solver.h"

#include "engine/config/solver_problem.h"
#include "engine/graph/solver_mapping.h"
#include "kernels/base/bump_allocator.h"

namespace tvmap {
namespace {

UnrolledProblem settled_problem(Backend& backend, Algorithms& algorithms, const Config& config, int height,
                                int width) {
    if (!is_plain(config.solver))
        return unrolled_problem(backend, family_problem(config.solver, config.map, 1, height, width));
    const PdhgProblem problem = pdhg_problem(config.solver, config.map, 1, height, width);
    settle_solver_mapping(backend, algorithms, problem);
    return unrolled_problem(backend, problem);
}

}  // namespace

MapSolver::MapSolver(Backend& backend, Algorithms& algorithms, const Config& config, int height, int width)
    : backend_(backend),
      pixels_(std::size_t(height) * width),
      iterations_(config.evaluate.iterations),
      weighs_(config.solver.observation.data() == DataTerm::weights),
      solver_(settled_problem(backend, algorithms, config, height, width)),
      workspace_bytes_(solver_.workspace_bytes()) {
    if (!is_plain(config.solver))
        observed_.emplace(backend, family_problem(config.solver, config.map, 1, height, width),
                          blur_kernel(config.solver.observation));
    if (config.solver.train_steps != TrainSteps::none) {
        problem_ = pdhg_problem(config.solver, config.map, 1, height, width);
        learned_ = step_training(config.solver, problem_);
    }
}

MapSolver::Arrays MapSolver::arrays(BumpAllocator& pieces) const {
    Arrays a{};
    a.z = pieces.take<float>(pixels_);
    a.x = pieces.take<float>(pixels_);
    a.lambda = pieces.take<float>(std::size_t(solver_.map_size()));
    a.weights = weighs_ ? pieces.take<float>(pixels_) : nullptr;
    a.state = learned_ ? pieces.take<float>(std::size_t(state_floats(problem_))) : nullptr;
    a.observed = observed_ ? pieces.take<std::byte>(observed_->workspace_bytes()) : nullptr;
    a.workspace = pieces.take<std::byte>(workspace_bytes_);
    return a;
}

std::size_t MapSolver::arena_bytes() const {
    BumpAllocator pieces;
    arrays(pieces);
    return pieces.bytes();
}

void MapSolver::bind(const Arena& arena, const Parameters& parameters, const std::vector<int>& steps) {
    arena_ = &arena;
    steps_.clear();
    for (const int parameter : steps) steps_.push_back(parameters.weight(parameter));
}

void MapSolver::run(const float* noisy, const float* lambda, float* denoised, const float* weights) {
    BumpAllocator pieces(arena_->memory());
    const Arrays a = arrays(pieces);
    const PdhgWorkspace workspace{a.workspace, workspace_bytes_};
    if (weighs_) backend_.upload(a.weights, weights, sizeof(float) * pixels_);
    backend_.upload(a.z, noisy, sizeof(float) * pixels_);
    backend_.upload(a.lambda, lambda, sizeof(float) * std::size_t(solver_.map_size()));
    if (learned_) {
        const PdhgState state = state_in(a.state, problem_);
        pdhg_forward_with_steps(backend_, problem_, read_step_sizes(backend_, *learned_, steps_), 0,
                                iterations_, {.z = a.z, .lambda = a.lambda}, {.x = a.x, .state = &state},
                                workspace);
    } else {
        SolverInput input{.b = a.z, .lambda = a.lambda};
        if (observed_) input = observed_->make(a.z, a.weights, a.lambda, a.observed);
        solver_.forward(iterations_, input, {.x = a.x}, workspace);
    }
    backend_.download(denoised, a.x, sizeof(float) * pixels_);
}

}  // namespace tvmap
