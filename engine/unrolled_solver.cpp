#include "engine/unrolled_solver.h"

#include <algorithm>

#include "kernels/error.h"

namespace tvmap {
namespace {

using Kind = GradientMode::Kind;

/// Steps of the implicit adjoint between two looks at its convergence.
constexpr int stretch = 32;

constexpr std::size_t alignment = 64;
std::size_t aligned(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

std::size_t aligned_doubles(std::size_t count) { return aligned(sizeof(double) * count); }

/// Memory that is cut into pieces from its start.
class Pieces {
  public:
    explicit Pieces(std::byte* memory) : at_(memory) {}
    template <class T>
    T* take(std::size_t bytes) {
        std::byte* const here = at_;
        at_ += aligned(bytes);
        return reinterpret_cast<T*>(here);
    }

  private:
    std::byte* at_;
};

}  // namespace

UnrolledSolver::UnrolledSolver(Backend& backend, const PdhgProblem& problem, int iterations,
                               const GradientMode& mode)
    : backend_(backend),
      problem_(problem),
      iterations_(iterations),
      mode_(mode),
      plane_(aligned(sizeof(float) * problem.solves * problem.pixels())),
      dual_(aligned(sizeof(float) * problem.solves * problem.pixels() * 2)),
      state_(3 * plane_ + dual_),
      adjoint_(3 * plane_ + dual_),
      map_(aligned(sizeof(float) * problem.solves * problem.map_size())),
      norms_(2 * problem.solves),
      solver_(aligned(backend.pdhg_workspace_bytes(problem))),
      forward_workspace_(solver_),
      backward_workspace_(solver_) {
    if (iterations < 1) fail("gradient ", mode.name(), " of ", iterations, " steps: give 1 or more");
    switch (mode.kind) {
        case Kind::masks:
            recorded_ = iterations;
            break;
        case Kind::truncated:
            if (mode.steps < 1 || mode.steps > iterations)
                fail("gradient ", mode.name(), " of ", iterations, " steps: give 1 to ", iterations);
            recorded_ = mode.steps;
            break;
        case Kind::implicit:
            recorded_ = 1;
            backward_workspace_ +=
                adjoint_ + (mode.tolerance > 0 ? 3 * map_ + aligned_doubles(norms_.size() + 1) : 0);
            break;
        case Kind::checkpoint:
        case Kind::stored:
            choose_segments();
            backward_workspace_ += backward_bytes(segment_);
    }
    saved_ = recomputes() ? (segments_ - 1) * state_ : backend.pdhg_mask_bytes(problem, recorded_);
    if (recomputes() ? segments_ > 1 : recorded_ < iterations) forward_workspace_ += state_;
}

/// What backward needs beyond the saved iterates and the solver's scratch memory, with segments of so many
/// steps: decisions and x of a segment and, between several, iterates and the adjoint's.
std::size_t UnrolledSolver::backward_bytes(int segment) const {
    return backend_.pdhg_mask_bytes(problem_, segment) + plane_ +
           (segment < iterations_ ? state_ + adjoint_ + plane_ : 0);
}

void UnrolledSolver::choose_segments() {
    const auto cut = [&](int segment) { return (iterations_ + segment - 1) / segment; };
    const auto bytes = [&](int segment) { return (cut(segment) - 1) * state_ + backward_bytes(segment); };
    segment_ = 1;
    if (mode_.kind == Kind::checkpoint)
        for (int steps = 2; steps <= iterations_; ++steps)
            if (bytes(steps) <= bytes(segment_)) segment_ = steps;
    segments_ = cut(segment_);
}

PdhgState UnrolledSolver::state_in(std::byte* memory) const {
    Pieces pieces(memory);
    PdhgState state;
    for (float** part : {&state.x, &state.x_bar, &state.p}) *part = pieces.take<float>(plane_);
    state.q = pieces.take<float>(dual_);
    return state;
}

PdhgAdjointState UnrolledSolver::adjoint_in(std::byte* memory, bool with_sum) const {
    Pieces pieces(memory);
    PdhgAdjointState state;
    for (float** part : {&state.y, &state.y_bar, &state.p}) *part = pieces.take<float>(plane_);
    state.q = pieces.take<float>(dual_);
    if (with_sum) state.sum_p = pieces.take<float>(plane_);
    return state;
}

View UnrolledSolver::map_view(float* map) const {
    const PdhgProblem& p = problem_;
    if (p.map == MapKind::scalar) return {map, dense_features(p.solves, 1, 1, 1, 1)};
    return {map, dense_features(p.solves, p.map == MapKind::shared ? 1 : 2, p.height, p.width, 1)};
}

// A leaky ReLU of slope 1 is a copy.
void UnrolledSolver::copy_state(const std::byte* from, std::byte* to) {
    constexpr int columns = alignment / sizeof(float);
    const Features shape = dense_features(1, 1, int(state_ / alignment), columns, 1);
    backend_.leaky_relu_forward({reinterpret_cast<const float*>(from), shape},
                                {reinterpret_cast<float*>(to), shape}, 1.0f);
}

void UnrolledSolver::clear(float* d_lambda, float* d_z) {
    if (d_lambda) backend_.clear(map_view(d_lambda));
    if (d_z) backend_.clear({d_z, dense_features(problem_.solves, 1, problem_.height, problem_.width, 1)});
}

void UnrolledSolver::forward(const float* z, const float* lambda, float* x, void* saved, void* workspace) {
    Pieces pieces(static_cast<std::byte*>(workspace));
    std::byte* const solver = pieces.take<std::byte>(solver_);
    const auto run = [&](int steps, void* masks, const PdhgState* state, bool go_on) {
        backend_.pdhg_forward(problem_, steps, z, lambda, x, static_cast<std::uint8_t*>(masks), state, go_on,
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

void UnrolledSolver::backward(const void* saved, const float* z, const float* lambda, const float* d_x,
                              float* d_lambda, float* d_z, Write write, void* workspace) {
    adjoint_steps_ = recomputes() ? iterations_ : recorded_;
    if (recomputes())
        return recomputed_backward(static_cast<const std::byte*>(saved), z, lambda, d_x, d_lambda, d_z, write,
                                   static_cast<std::byte*>(workspace));
    const auto* masks = static_cast<const std::uint8_t*>(saved);
    if (mode_.kind == Kind::implicit)
        return implicit_backward(masks, d_x, d_lambda, d_z, write, static_cast<std::byte*>(workspace));
    backend_.pdhg_adjoint(problem_, recorded_, masks, d_x, d_lambda, d_z, write, workspace,
                          {.from_image = recorded_ == iterations_});
}

void UnrolledSolver::recomputed_backward(const std::byte* saved, const float* z, const float* lambda,
                                         const float* d_x, float* d_lambda, float* d_z, Write write,
                                         std::byte* workspace) {
    Pieces pieces(workspace);
    std::byte* const solver = pieces.take<std::byte>(solver_);
    auto* const masks = pieces.take<std::uint8_t>(backend_.pdhg_mask_bytes(problem_, segment_));
    float* const x = pieces.take<float>(plane_);
    std::byte* memory = nullptr;
    PdhgState state;
    PdhgAdjointState adjoint;
    if (segments_ > 1) {
        memory = pieces.take<std::byte>(state_);
        state = state_in(memory);
        adjoint = adjoint_in(pieces.take<std::byte>(adjoint_ + plane_), d_z != nullptr);
        if (write == Write::overwrite) clear(d_lambda, d_z);
        write = Write::accumulate;
    }
    for (int k = segments_ - 1; k >= 0; --k) {
        const bool first = k == 0, last = k == segments_ - 1;
        if (!first) copy_state(saved + (k - 1) * state_, memory);
        backend_.pdhg_forward(problem_, segment_steps(k), z, lambda, x, masks, first ? nullptr : &state,
                              !first, solver);
        backend_.pdhg_adjoint(
            problem_, segment_steps(k), masks, d_x, d_lambda, first ? d_z : nullptr, write, solver,
            {.state = segments_ > 1 ? &adjoint : nullptr, .start_from_state = !last, .from_image = first});
    }
}

void UnrolledSolver::implicit_backward(const std::uint8_t* masks, const float* d_x, float* d_lambda,
                                       float* d_z, Write write, std::byte* workspace) {
    Pieces pieces(workspace);
    std::byte* const solver = pieces.take<std::byte>(solver_);
    // Each stretch adds its own part to d_z, so no sum is carried.
    const PdhgAdjointState adjoint = adjoint_in(pieces.take<std::byte>(adjoint_), false);
    if (write == Write::overwrite) clear(d_lambda, d_z);
    const auto take_stretch = [&](float* to) {
        const int steps = std::min(stretch, mode_.cap - adjoint_steps_);
        backend_.pdhg_adjoint(problem_, steps, masks, d_x, to, d_z, Write::accumulate, solver,
                              {.state = &adjoint,
                               .start_from_state = adjoint_steps_ > 0,
                               .one_mask = true,
                               .from_image = false});
        adjoint_steps_ += steps;
    };
    adjoint_steps_ = 0;
    if (mode_.tolerance <= 0) {
        while (adjoint_steps_ < mode_.cap) take_stretch(d_lambda);
        return;
    }
    float* const part = pieces.take<float>(map_);
    const View sum = map_view(pieces.take<float>(map_)), zero = map_view(pieces.take<float>(map_));
    double* const norms = pieces.take<double>(aligned_doubles(norms_.size() + 1));
    for (const View& view : {sum, zero}) backend_.clear(view);
    do {
        clear(part, nullptr);
        take_stretch(part);
        backend_.add(sum, map_view(part), sum);
    } while (adjoint_steps_ < mode_.cap && !negligible(map_view(part), sum, zero, norms));
    if (d_lambda) backend_.add(map_view(d_lambda), sum, map_view(d_lambda));
}

// A norm is a mean squared error against zero. norms: room for those of both, and for their mean, which
// nobody wants.
bool UnrolledSolver::negligible(ConstView part, ConstView sum, ConstView zero, double* norms) {
    const int solves = problem_.solves;
    backend_.loss_forward(LossKind::mse, part, zero, norms, norms + 2 * solves);
    backend_.loss_forward(LossKind::mse, sum, zero, norms + solves, norms + 2 * solves);
    backend_.download(norms_.data(), norms, sizeof(double) * norms_.size());
    for (int n = 0; n < solves; ++n)
        if (!(norms_[n] <= mode_.tolerance * mode_.tolerance * norms_[solves + n])) return false;
    return true;
}

}  // namespace tvmap
