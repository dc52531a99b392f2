// T steps of the solver and their gradient in any mode (engine/config/gradient_mode.h), in memory that the caller
// gives: what lives from forward to backward, and scratch for each. Nothing is allocated, so the sizes are
// the plan.
//
// masks, truncated, implicit: the T, K or 1 last steps leave their decisions.
// checkpoint, stored: the T steps are cut into segments of S. The iterates x, x̄, p, q that each segment but
// the first begins with are kept (20 bytes a pixel); backward runs a segment again from there for its
// decisions, then its adjoint. stored has S = 1, checkpoint the S that needs least in all: since decisions
// are forty times smaller than iterates, S is some √(40·T), and below T of about 250 one segment is best.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "engine/config/gradient_mode.h"
#include "engine/unrolled/unrolled_problem.h"
#include "kernels/backend.h"

namespace tvmap {

/// The solver of one problem. For one thread at a time.
class UnrolledSolver {
  public:
    /// Throws Error for truncated:K with K above the iterations.
    UnrolledSolver(Backend& backend, UnrolledProblem problem, int iterations, const GradientMode& mode = {});
    UnrolledSolver(Backend& backend, const PdhgProblem& problem, int iterations,
                   const GradientMode& mode = {})
        : UnrolledSolver(backend, unrolled_problem(backend, problem), iterations, mode) {}
    UnrolledSolver(Backend& backend, const SolverProblem& problem, int iterations,
                   const GradientMode& mode = {})
        : UnrolledSolver(backend, unrolled_problem(backend, problem), iterations, mode) {}

    std::size_t saved_bytes() const { return saved_; }
    std::size_t forward_workspace_bytes() const { return forward_workspace_; }
    std::size_t backward_workspace_bytes() const { return backward_workspace_; }
    /// Whether backward() runs steps again, and so reads all that forward() does (else of SolverInput gram alone).
    bool recomputes() const { return segments_ > 0; }

    /// x receives x_T, the same bits in every mode. input: of a PdhgProblem, b (which is z) and lambda. saved:
    /// saved_bytes() for backward(), or null where no gradient is wanted. Memory is aligned to 64 bytes.
    void forward(const SolverInput& input, float* x, void* saved, void* workspace);

    /// The derivatives from d_x = ∂loss/∂x_T; d_b of a PdhgProblem is d_z. d_start is 0 where the mode does not reach the
    /// start: truncated, implicit. `saved` stays as it is. Nothing waits: implicit with a tolerance settles where the
    /// data is.
    void backward(const void* saved, const SolverInput& input, const float* d_x,
                  const SolverDerivatives& derivatives, void* workspace);

    /// Of the adjoint, in the last backward(), whose workspace still holds them. Waits.
    int adjoint_steps() const;

  private:
    void choose_segments();
    int segment_steps(int k) const { return std::min(segment_, iterations_ - k * segment_); }
    std::size_t backward_bytes(int segment) const;
    std::size_t saved_states(int segments) const;
    PdhgState state_in(std::byte* memory) const;
    PdhgAdjointState adjoint_in(std::byte* memory, bool with_sum) const;
    View map_view(float* map) const;
    PdhgWorkspace solver_in(std::byte* memory) const { return {memory, solver_}; }
    void copy_state(const std::byte* from, std::byte* to);
    void clear(const SolverDerivatives& derivatives);
    void recomputed_backward(const std::byte* saved, const SolverInput& input, const float* d_x,
                             SolverDerivatives derivatives, std::byte* workspace);
    void implicit_backward(const std::uint8_t* masks, const SolverInput& input, const float* d_x,
                           const SolverDerivatives& derivatives, std::byte* workspace);

    Backend& backend_;
    UnrolledProblem problem_;
    int iterations_;
    GradientMode mode_;
    int recorded_ = 0;  ///< the last steps whose decisions are saved; 0 where they are made again
    int segments_ = 0, segment_ = 0;     ///< how many there are, and the steps of each but the last
    std::size_t plane_, primal_, dual_;  ///< bytes of the whole batch: of an image, of x, of q,
    std::size_t state_, adjoint_;        ///< of x, x̄, p and q, of Y, Ȳ, P̃ and Q̃,
    std::size_t map_;                    ///< and of Λ
    std::size_t norms_;                  ///< bytes of what implicit with a tolerance sums up by solve
    std::size_t solver_, saved_, forward_workspace_, backward_workspace_;
    int adjoint_steps_ = 0;
    const PdhgSettling* settling_ = nullptr;  ///< of the last backward(), where it ends by itself
};

}  // namespace tvmap
