#include "engine/model/denoiser.h"

#include <algorithm>

#include "engine/config/solver_problem.h"
#include "engine/graph/solver_mapping.h"
#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

/// The index that position i of an extended row shows: 0 1 2 … n−1 n−1 … 1 0 0 1 …
int mirrored(int i, int n) {
    const int phase = i % (2 * n);
    return phase < n ? phase : 2 * n - 1 - phase;
}

UnrolledProblem settled_problem(Backend& backend, Algorithms& algorithms, const Config& config, int height,
                                int width) {
    if (!is_plain(config.solver))
        return unrolled_problem(backend, family_problem(config.solver, config.map, 1, height, width));
    const PdhgProblem problem = pdhg_problem(config.solver, config.map, 1, height, width);
    settle_solver_mapping(backend, algorithms, problem);
    return unrolled_problem(backend, problem);
}

}  // namespace

Denoiser::Denoiser(Backend& backend, Algorithms& algorithms, const Config& config, int height, int width)
    : backend_(backend),
      height_(height),
      width_(width),
      padded_height_(round_up(height, 1 << halvings(config.network))),
      padded_width_(round_up(width, 1 << halvings(config.network))),
      maps_(map_count(config)),
      iterations_(config.evaluate.iterations),
      weighs_(config.solver.observation.data == DataTerm::weights),
      solver_(settled_problem(backend, algorithms, config, height, width)),
      solver_bytes_(solver_.workspace_bytes()) {
    RecordedModel model =
        record_inference_model(backend, config, 1, padded_height_, padded_width_, padded() ? 0 : iterations_);
    noisy_ = model.noisy;
    weights_ = model.weights;
    lambda_ = model.lambda;
    denoised_ = model.denoised;
    step_parameters_ = model.steps;
    if (!model.steps.empty()) {
        problem_ = pdhg_problem(config.solver, config.map, 1, height, width);
        learned_ = step_training(config.solver, problem_);
    }
    plan_ = std::make_unique<Plan>(std::move(model.graph), backend, algorithms, false);
    if (!is_plain(config.solver) && maps_ > 0)
        observed_.emplace(backend, family_problem(config.solver, config.map, 1, height, width),
                          blur_kernel(config.solver.observation));
    if (padded()) {
        padded_image_.resize(std::size_t(padded_height_) * padded_width_);
        padded_planes_.resize(padded_image_.size() * std::max(maps_, 1));
    }
}

std::size_t Denoiser::arena_bytes() const {
    // The network's tensors are dead when the solver runs: z, Λ, x and its workspace take their place.
    const std::size_t plane = aligned(sizeof(float) * std::size_t(height_) * width_);
    return std::max(plan_->arena_bytes(), (weighs_ ? 3 : 2) * plane +
                                              aligned(sizeof(float) * solver_.map_size()) +
                                              (learned_ ? sizeof(float) * state_floats(problem_) : 0) +
                                              (observed_ ? observed_->workspace_bytes() : 0) + solver_bytes_);
}

void Denoiser::bind(const Arena& arena, const Parameters& parameters) {
    plan_->bind(arena, parameters);
    arena_ = &arena;
    steps_.clear();
    for (const int parameter : step_parameters_) steps_.push_back(parameters.weight(parameter));
}

void Denoiser::solve(const float* z, const float* weights, const float* lambda, float* x,
                     std::byte* workspace) {
    if (!learned_) {
        SolverInput input{.b = z, .lambda = lambda};
        if (observed_) {
            input = observed_->make(z, weights, lambda, workspace);
            workspace += observed_->workspace_bytes();
        }
        return solver_.forward(iterations_, input, {.x = x}, {workspace, solver_bytes_});
    }
    const PdhgState state = state_in(reinterpret_cast<float*>(workspace), problem_);
    pdhg_forward_with_steps(backend_, problem_, read_step_sizes(backend_, *learned_, steps_), 0, iterations_,
                            {.z = z, .lambda = lambda}, {.x = x, .state = &state},
                            {workspace + sizeof(float) * state_floats(problem_), solver_bytes_});
}

void Denoiser::forward() {
    if (padded())
        fail("denoiser: ", height_, "×", width_, " needs padding, which run() does on the host; use that");
    plan_->forward();
}

void Denoiser::upload_padded(const float* image) {
    for (int i = 0; i < padded_height_; ++i)
        for (int j = 0; j < padded_width_; ++j)
            padded_image_[std::size_t(i) * padded_width_ + j] =
                image[std::size_t(mirrored(i, height_)) * width_ + mirrored(j, width_)];
    backend_.upload(plan_->view(noisy_).data, padded_image_.data(), sizeof(float) * padded_image_.size());
}

void Denoiser::download_cropped(Value value, int planes, float* to) {
    backend_.download(padded_planes_.data(), plan_->view(value).data, sizeof(float) * padded_planes_.size());
    for (int m = 0; m < planes; ++m)
        for (int i = 0; i < height_; ++i)
            std::copy_n(&padded_planes_[(std::size_t(m) * padded_height_ + i) * padded_width_], width_,
                        &to[(std::size_t(m) * height_ + i) * width_]);
}

void Denoiser::run(const float* noisy, float* lambda, float* denoised, const float* weights) {
    const std::size_t pixels = std::size_t(height_) * width_;
    const std::size_t map_bytes = sizeof(float) * pixels * maps_;
    if (!padded()) {
        backend_.upload(input(), noisy, sizeof(float) * pixels);
        if (weights_.id >= 0) backend_.upload(this->weights(), weights, sizeof(float) * pixels);
        forward();
        if (maps_ > 0) backend_.download(lambda, map(), map_bytes);
        backend_.download(denoised, output(), sizeof(float) * pixels);
        return;
    }

    upload_padded(noisy);
    plan_->forward();
    if (maps_ == 0) return download_cropped(denoised_, 1, denoised);
    download_cropped(lambda_, maps_, lambda);
    restore(noisy, lambda, denoised, weights);
}

void Denoiser::restore(const float* noisy, const float* lambda, float* denoised, const float* weights) {
    const std::size_t pixels = std::size_t(height_) * width_;
    BumpAllocator pieces(arena_->memory());
    float* z = pieces.take<float>(pixels);
    float* x = pieces.take<float>(pixels);
    float* map = pieces.take<float>(pixels * std::size_t(maps_));
    float* known = weighs_ ? pieces.take<float>(pixels) : nullptr;
    if (known) backend_.upload(known, weights, sizeof(float) * pixels);
    backend_.upload(z, noisy, sizeof(float) * pixels);
    backend_.upload(map, lambda, sizeof(float) * pixels * maps_);
    solve(z, known, map, x, pieces.take<std::byte>(0));
    backend_.download(denoised, x, sizeof(float) * pixels);
}

}  // namespace tvmap
