#include "engine/unrolled/unrolled_solver.h"

#include <algorithm>
#include <utility>

#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"
#include "kernels/base/sizes.h"

namespace tvmap {
namespace {

using Kind = GradientMode::Kind;

/// Steps of the implicit adjoint between two looks at its convergence.
constexpr int stretch = 32;

/// Of so many planes of the whole batch.
std::size_t plane_bytes(const UnrolledProblem& problem, int planes) {
    return aligned(std::size_t(checked_product("iterates of the solver, bytes", problem.solves, planes,
                                               problem.height, problem.width, sizeof(float))));
}

}  // namespace

UnrolledSolver::UnrolledSolver(Backend& backend, UnrolledProblem problem, int iterations,
                               const GradientMode& mode)
    : backend_(backend),
      problem_(std::move(problem)),
      iterations_(iterations),
      mode_(mode),
      plane_(plane_bytes(problem_, 1)),
      primal_(plane_bytes(problem_, problem_.fields)),
      dual_(plane_bytes(problem_, problem_.components)),
      state_(2 * primal_ + plane_ + dual_),
      adjoint_(state_),
      map_(aligned(sizeof(float) * problem_.solves * problem_.map_size())),
      norms_(aligned(sizeof(double) * 2 * std::size_t(problem_.solves))),
      solver_(aligned(problem_.workspace_bytes())),
      forward_workspace_(solver_),
      backward_workspace_(solver_) {
    if (iterations < 1) fail("gradient ", mode.name(), " of ", iterations, " steps: give 1 or more");
    if (const std::string refusal = mode.refusal(iterations); !refusal.empty()) fail("gradient ", refusal);
    switch (mode.kind) {
        case Kind::masks:
            recorded_ = iterations;
            break;
        case Kind::truncated:
            recorded_ = mode.steps;
            break;
        case Kind::implicit:
            recorded_ = 1;
            backward_workspace_ += adjoint_;
            if (mode.tolerance > 0) backward_workspace_ += 2 * map_ + norms_ + aligned(sizeof(PdhgSettling));
            break;
        case Kind::checkpoint:
        case Kind::stored:
            choose_segments();
            backward_workspace_ += backward_bytes(segment_);
    }
    saved_ = recomputes() ? saved_states(segments_) : problem_.mask_bytes(recorded_);
    if (recomputes() ? segments_ > 1 : recorded_ < iterations) forward_workspace_ += state_;
}

/// What backward needs beyond the saved iterates and the solver's scratch memory, with segments of so many
/// steps: decisions and x of a segment and, between several, iterates and the adjoint's.
std::size_t UnrolledSolver::backward_bytes(int segment) const {
    return problem_.mask_bytes(segment) + plane_ + (segment < iterations_ ? state_ + adjoint_ + plane_ : 0);
}

/// Bytes of the iterates that so many segments begin with, but the first.
std::size_t UnrolledSolver::saved_states(int segments) const {
    return std::size_t(checked_product("iterates of the solver, bytes", segments - 1, state_));
}

void UnrolledSolver::choose_segments() {
    const auto cut = [&](int segment) { return int((std::int64_t(iterations_) + segment - 1) / segment); };
    segment_ = 1;
    segments_ = iterations_;
    if (mode_.kind == Kind::stored) return;
    const auto bytes = [&](int segment) { return saved_states(cut(segment)) + backward_bytes(segment); };
    // Of those that make so many segments, the shortest needs least: there are some √T to look at. Where several need
    // as little, the longest is taken.
    std::size_t least = SIZE_MAX;
    for (int segments = 1; segments <= iterations_ && saved_states(segments) < least; ++segments) {
        int segment = cut(segments);
        while (segment < iterations_ && bytes(segment + 1) == bytes(segment)) ++segment;
        if (bytes(segment) >= least) continue;
        least = bytes(segment);
        segment_ = segment;
    }
    segments_ = cut(segment_);
}

PdhgState UnrolledSolver::state_in(std::byte* memory) const {
    BumpAllocator pieces(memory);
    PdhgState state;
    for (float** part : {&state.x, &state.x_bar}) *part = pieces.take<float>(primal_ / sizeof(float));
    state.p = pieces.take<float>(plane_ / sizeof(float));
    state.q = pieces.take<float>(dual_ / sizeof(float));
    return state;
}

PdhgAdjointState UnrolledSolver::adjoint_in(std::byte* memory, bool with_sum) const {
    BumpAllocator pieces(memory);
    PdhgAdjointState state;
    for (float** part : {&state.y, &state.y_bar}) *part = pieces.take<float>(primal_ / sizeof(float));
    state.p = pieces.take<float>(plane_ / sizeof(float));
    state.q = pieces.take<float>(dual_ / sizeof(float));
    if (with_sum) state.sum_p = pieces.take<float>(plane_ / sizeof(float));
    return state;
}

View UnrolledSolver::map_view(float* map) const {
    const UnrolledProblem& p = problem_;
    if (p.scalar_map) return {map, dense_features(p.solves, p.maps, 1, 1, 1)};
    return {map, dense_features(p.solves, p.maps, p.height, p.width, 1)};
}

void UnrolledSolver::copy_state(const std::byte* from, std::byte* to) {
    backend_.copy(reinterpret_cast<float*>(to), reinterpret_cast<const float*>(from),
                  std::int64_t(state_ / sizeof(float)));
}

void UnrolledSolver::clear(const SolverDerivatives& d) {
    if (d.d_lambda) backend_.fill(map_view(d.d_lambda), 0.0f);
    for (float* image : {d.d_b, d.d_start})
        if (image)
            backend_.fill({image, dense_features(problem_.solves, 1, problem_.height, problem_.width, 1)},
                          0.0f);
}

void UnrolledSolver::forward(const SolverInput& input, float* x, void* saved, void* workspace) {
    BumpAllocator pieces(static_cast<std::byte*>(workspace));
    const PdhgWorkspace solver = solver_in(pieces.take<std::byte>(solver_));
    const auto run = [&](int steps, void* masks, const PdhgState* state, bool go_on) {
        problem_.forward(
            steps, input,
            {.x = x, .masks = static_cast<std::uint8_t*>(masks), .state = state, .start_from_state = go_on},
            solver);
    };
    if (!saved) return run(iterations_, nullptr, nullptr, false);
    if (recorded_ == iterations_) return run(iterations_, saved, nullptr, false);

    std::byte* const memory = pieces.take<std::byte>(state_);
    const PdhgState state = state_in(memory);
    if (!recomputes()) {
        run(iterations_ - recorded_, nullptr, &state, false);
        return run(recorded_, saved, &state, true);
    }
    for (int k = 0; k < segments_; ++k) {
        if (k > 0) copy_state(memory, static_cast<std::byte*>(saved) + (k - 1) * state_);
        run(segment_steps(k), nullptr, &state, k > 0);
    }
}

void UnrolledSolver::backward(const void* saved, const SolverInput& input, const float* d_x,
                              const SolverDerivatives& derivatives, void* workspace) {
    adjoint_steps_ = recomputes() ? iterations_ : recorded_;
    settling_ = nullptr;
    if (recomputes())
        return recomputed_backward(static_cast<const std::byte*>(saved), input, d_x, derivatives,
                                   static_cast<std::byte*>(workspace));
    const auto* masks = static_cast<const std::uint8_t*>(saved);
    if (mode_.kind == Kind::implicit)
        return implicit_backward(masks, input, d_x, derivatives, static_cast<std::byte*>(workspace));
    const bool whole = recorded_ == iterations_;
    if (!whole && derivatives.write == Write::overwrite) clear({.d_start = derivatives.d_start});
    problem_.adjoint(recorded_, input, {.masks = masks, .d_x = d_x, .from_image = whole}, derivatives,
                     solver_in(static_cast<std::byte*>(workspace)));
}

void UnrolledSolver::recomputed_backward(const std::byte* saved, const SolverInput& input, const float* d_x,
                                         SolverDerivatives derivatives, std::byte* workspace) {
    BumpAllocator pieces(workspace);
    const PdhgWorkspace solver = solver_in(pieces.take<std::byte>(solver_));
    auto* const masks = pieces.take<std::uint8_t>(problem_.mask_bytes(segment_));
    float* const x = pieces.take<float>(plane_ / sizeof(float));
    std::byte* memory = nullptr;
    PdhgState state;
    PdhgAdjointState adjoint;
    if (segments_ > 1) {
        memory = pieces.take<std::byte>(state_);
        state = state_in(memory);
        adjoint = adjoint_in(pieces.take<std::byte>(adjoint_ + plane_), derivatives.d_b != nullptr);
        if (derivatives.write == Write::overwrite) clear(derivatives);
        derivatives.write = Write::accumulate;
    }
    for (int k = segments_ - 1; k >= 0; --k) {
        const bool first = k == 0, last = k == segments_ - 1;
        if (!first) copy_state(saved + (k - 1) * state_, memory);
        problem_.forward(
            segment_steps(k), input,
            {.x = x, .masks = masks, .state = first ? nullptr : &state, .start_from_state = !first}, solver);
        problem_.adjoint(
            segment_steps(k), input,
            {.masks = masks,
             .d_x = d_x,
             .state = segments_ > 1 ? &adjoint : nullptr,
             .start_from_state = !last,
             .from_image = first},
            first ? derivatives
                  : SolverDerivatives{.d_lambda = derivatives.d_lambda, .write = derivatives.write},
            solver);
    }
}

void UnrolledSolver::implicit_backward(const std::uint8_t* masks, const SolverInput& input, const float* d_x,
                                       const SolverDerivatives& derivatives, std::byte* workspace) {
    BumpAllocator pieces(workspace);
    const PdhgWorkspace solver = solver_in(pieces.take<std::byte>(solver_));
    // Each stretch adds its own part to d_z, so no sum is carried.
    const PdhgAdjointState adjoint = adjoint_in(pieces.take<std::byte>(adjoint_), false);
    if (derivatives.write == Write::overwrite) clear(derivatives);
    float* const d_lambda = derivatives.d_lambda;
    adjoint_steps_ = 0;
    const auto take_stretch = [&](float* to) {
        const int steps = std::min(stretch, mode_.cap - adjoint_steps_);
        problem_.adjoint(steps, input,
                         {.masks = masks,
                          .d_x = d_x,
                          .state = &adjoint,
                          .start_from_state = adjoint_steps_ > 0,
                          .one_mask = true,
                          .from_image = false,
                          .settling = settling_},
                         {.d_lambda = to, .d_b = derivatives.d_b, .write = Write::accumulate}, solver);
        adjoint_steps_ += steps;
        return steps;
    };
    if (mode_.tolerance <= 0) {
        while (adjoint_steps_ < mode_.cap) take_stretch(d_lambda);
        return;
    }
    float* const part = pieces.take<float>(map_ / sizeof(float));
    const View sum = map_view(pieces.take<float>(map_ / sizeof(float)));
    double* const norms = pieces.take<double>(norms_ / sizeof(double));
    auto* const settling = pieces.take<PdhgSettling>(1);
    const int solves = problem_.solves;
    settling_ = settling;
    backend_.clear(settling, sizeof(PdhgSettling));
    backend_.fill(sum, 0.0f);
    // All stretches are queued, since a device cannot be asked in a recording; once the adjoint has settled, those
    // left add nothing.
    while (adjoint_steps_ < mode_.cap) {
        clear({.d_lambda = part});
        const int steps = take_stretch(part);
        backend_.axpy(1.0f, map_view(part), sum);
        backend_.dot(map_view(part), map_view(part), norms);
        backend_.dot(sum, sum, norms + solves);
        backend_.pdhg_settle(solves, norms, norms + solves, mode_.tolerance, steps, settling);
        if (!backend_.separate_memory() && settling->settled) break;  // the host need not go through the rest
    }
    if (d_lambda) backend_.axpy(1.0f, sum, map_view(d_lambda));
}

int UnrolledSolver::adjoint_steps() const {
    if (settling_ == nullptr) return adjoint_steps_;
    PdhgSettling settling;
    backend_.download(&settling, settling_, sizeof settling);
    return settling.steps;
}

}  // namespace tvmap
