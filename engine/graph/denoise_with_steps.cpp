#include "engine/graph/denoise_with_steps.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "engine/graph/operations.h"
#include "engine/graph/solver_mapping.h"
#include "kernels/base/bump_allocator.h"

namespace tvmap {
/// What backward needs besides the saved iterates. Iterates lie one after the other as state_floats each.
struct DenoiseWithStepsOperation::Scratch {
    PdhgWorkspace kernels;       // which take turns
    float* iterates;             // those that the stretch's iterations reach
    std::uint8_t* masks;         // their decisions
    float *adjoint, *x;          // the adjoint's state; x is the forward pass's result, not needed
    float* adjoint_next;         // the adjoint's state before the iteration under way
    double* d_steps;             // ∂loss/∂(τ, σ, θ), triple by triple
    std::size_t mask_bytes = 0;  // of one iteration
    std::size_t bytes = 0;       // of everything
};

std::vector<int> step_parameters(Graph& graph, const StepTraining& training) {
    std::vector<int> result;
    for (std::size_t kind = 0; kind < step_parameter_names.size(); ++kind)
        result.push_back(graph.parameter(step_parameter_names[kind], {training.count}, 1,
                                         {.value = training.start[kind]}));
    return result;
}

Value denoise_with_steps(Graph& graph, Value z, Value lambda, PdhgProblem problem, int iterations,
                         const StepTraining& training) {
    problem = sized_problem(graph, z, lambda, problem);
    z = dense(graph, z);
    lambda = dense(graph, lambda);
    auto operation = std::make_unique<DenoiseWithStepsOperation>(problem, iterations, training);
    operation->parameters = step_parameters(graph, training);
    return graph.record(std::move(operation), {z, lambda}, "denoised");
}

Features DenoiseWithStepsOperation::output_shape(const Graph&) const {
    return dense_features(problem_.solves, 1, problem_.height, problem_.width, 1);
}

DenoiseWithStepsOperation::DenoiseWithStepsOperation(const PdhgProblem& problem, int iterations,
                                                     const StepTraining& training)
    : problem_(problem),
      iterations_(iterations),
      stretch_(int(std::ceil(std::sqrt(double(iterations))))),
      training_(training) {}

DenoiseWithStepsOperation::Scratch DenoiseWithStepsOperation::scratch_of(const Backend& backend,
                                                                         void* workspace) const {
    BumpAllocator pieces(workspace);
    Scratch s;
    s.mask_bytes = backend.pdhg_mask_bytes(problem_, 1);
    s.kernels = {pieces.take<std::byte>(kernel_bytes_), kernel_bytes_};
    s.iterates = pieces.take<float>(stretch_ * state_floats(problem_));
    s.masks = pieces.take<std::uint8_t>(stretch_ * s.mask_bytes);
    s.x = pieces.take<float>(problem_.solves * problem_.pixels());
    s.adjoint = pieces.take<float>(state_floats(problem_));
    s.adjoint_next = pieces.take<float>(state_floats(problem_));
    s.d_steps = pieces.take<double>(3 * std::size_t(training_.count));
    s.bytes = pieces.bytes();
    return s;
}

void DenoiseWithStepsOperation::prepare(Backend& backend, Algorithms& algorithms, const Graph&,
                                        bool training) {
    settle_solver_mapping(backend, algorithms, problem_);
    const std::size_t state = sizeof(float) * state_floats(problem_);
    solver_bytes_ = backend.pdhg_workspace_bytes(problem_);
    kernel_bytes_ = std::max(solver_bytes_, backend.pdhg_step_gradients_workspace_bytes(problem_));
    BumpAllocator pieces;
    pieces.take<std::byte>(solver_bytes_);
    forward_workspace = pieces.bytes() + state;
    if (!training) return;
    saved_bytes = std::size_t((iterations_ - 1) / stretch_) * state;
    backward_workspace = scratch_of(backend, nullptr).bytes;
}

void DenoiseWithStepsOperation::forward(const Binding& b) {
    BumpAllocator pieces(b.workspace);
    const PdhgWorkspace solver{pieces.take<std::byte>(solver_bytes_), solver_bytes_};
    float* memory = pieces.take<float>(state_floats(problem_));
    const PdhgState state = state_in(memory, problem_);
    const StepSizes steps = read_step_sizes(*b.backend, training_, b.parameters);
    const int stretch = b.saved ? stretch_ : iterations_;
    float* saved = static_cast<float*>(b.saved);
    for (int from = 0; from < iterations_; from += stretch) {
        if (from > 0) {
            b.backend->copy(saved, memory, state_floats(problem_));
            saved += state_floats(problem_);
        }
        pdhg_forward_with_steps(*b.backend, problem_, steps, from, std::min(from + stretch, iterations_),
                                {.z = b.inputs[0].data, .lambda = b.inputs[1].data},
                                {.x = b.output.data, .state = &state}, solver);
    }
}

/// The iterates after `k` iterations, for k > 0: a saved one where a stretch begins, else of the stretch that
/// is in memory.
float* DenoiseWithStepsOperation::iterates_after(int k, const Binding& b, const Scratch& s) const {
    const std::int64_t floats = state_floats(problem_);
    if (k % stretch_ == 0) return static_cast<float*>(b.saved) + (k / stretch_ - 1) * floats;
    return s.iterates + (k % stretch_ - 1) * floats;
}

/// Iterations from … to−1 once more, each from a copy of the iterates before.
void DenoiseWithStepsOperation::repeat_stretch(const Binding& b, const StepSizes& steps, int from, int to,
                                               const Scratch& s) const {
    for (int k = from; k < to; ++k) {
        float* memory = s.iterates + (k - from) * state_floats(problem_);
        if (k > 0) b.backend->copy(memory, iterates_after(k, b, s), state_floats(problem_));
        const PdhgState state = state_in(memory, problem_);
        b.backend->pdhg_forward(steps.at(problem_, k), 1, {b.inputs[0].data, b.inputs[1].data},
                                {.x = s.x,
                                 .masks = s.masks + (k - from) * s.mask_bytes,
                                 .state = &state,
                                 .start_from_state = k > 0},
                                s.kernels);
    }
}

void DenoiseWithStepsOperation::backward(const Binding& b) {
    Backend& backend = *b.backend;
    const Scratch s = scratch_of(backend, b.workspace);
    const StepSizes steps = read_step_sizes(backend, training_, b.parameters);
    const std::int64_t floats = state_floats(problem_);
    const float* z = b.inputs[0].data;
    float *const d_z = b.d_inputs[0].data, *const d_lambda = b.d_inputs[1].data;

    // Every iteration adds to these.
    backend.clear(s.d_steps, 3 * sizeof(double) * steps.count());
    for (int i = 0; i < 2; ++i)
        if (b.d_inputs[i].data && b.d_input_write[i] == Write::overwrite) backend.fill(b.d_inputs[i], 0.0f);

    const auto adjoint_in = [&](float* memory) {
        const PdhgState at = state_in(memory, problem_);
        return PdhgAdjointState{at.x, at.x_bar, at.p, at.q, nullptr};
    };
    const PdhgAdjointState adjoint = adjoint_in(s.adjoint), adjoint_next = adjoint_in(s.adjoint_next);
    // Before the last iteration's adjoint: Y = Ȳ = ∂loss/∂x_T, the rest 0.
    backend.clear(s.adjoint, sizeof(float) * floats);
    for (float* start : {adjoint.y, adjoint.y_bar})
        backend.copy(start, b.d_output.data, problem_.solves * problem_.pixels());

    for (int from = (iterations_ - 1) / stretch_ * stretch_; from >= 0; from -= stretch_) {
        const int to = std::min(from + stretch_, iterations_);
        repeat_stretch(b, steps, from, to, s);
        for (int k = to - 1; k >= from; --k) {
            backend.copy(s.adjoint_next, s.adjoint, floats);
            PdhgProblem problem = steps.at(problem_, k);
            const float next_sigma = steps.at(problem_, k + 1).sigma;
            PdhgProblem backwards = problem;
            backwards.theta = steps.at(problem_, std::max(k - 1, 0)).theta;  // Ȳ is made for iteration k−1
            backend.pdhg_adjoint(backwards, 1,
                                 {.masks = s.masks + (k - from) * s.mask_bytes,
                                  .state = &adjoint,
                                  .start_from_state = true,
                                  .from_image = k == 0},
                                 {.d_lambda = d_lambda, .d_z = d_z, .write = Write::accumulate}, s.kernels);

            // What iteration k started from: of the first one, x̄ = z is all that is read.
            const PdhgState state = k > 0 ? state_in(iterates_after(k, b, s), problem_)
                                          : PdhgState{nullptr, const_cast<float*>(z), nullptr, nullptr};
            backend.pdhg_step_gradients(problem,
                                        {.z = z,
                                         .state = state,
                                         .next = state_in(s.iterates + (k - from) * floats, problem_),
                                         .adjoint_next = adjoint_next,
                                         .adjoint = adjoint,
                                         .next_sigma = next_sigma},
                                        s.d_steps + 3 * steps.triple(k), s.kernels);
        }
    }
    write_gradient(b, steps, s.d_steps);
}

void DenoiseWithStepsOperation::write_gradient(const Binding& b, const StepSizes& steps,
                                               const double* d_steps) const {
    std::vector<double> host(3 * std::size_t(steps.count()));
    b.backend->download(host.data(), d_steps, sizeof(double) * host.size());
    PerStepKind<std::vector<float>> gradient = steps.raw_gradient(host);
    std::vector<float> old(steps.count());
    for (std::size_t kind = 0; kind < gradient.size(); ++kind) {
        if (b.parameter_write == Write::accumulate) {
            b.backend->download(old.data(), b.d_parameters[kind], sizeof(float) * old.size());
            for (std::size_t k = 0; k < old.size(); ++k) gradient[kind][k] += old[k];
        }
        b.backend->upload(b.d_parameters[kind], gradient[kind].data(), sizeof(float) * old.size());
    }
}

}  // namespace tvmap
