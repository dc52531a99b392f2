// The total-variation solver and its gradient on whole arrays of the host, on any backend, with their
// arguments checked and their time taken (memory is set up and filled outside it). One map serves all images
// of a stack. The iteration is in kernels/solver/pdhg.h.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/solver/residuals.h"
#include "kernels/backend.h"

namespace tvmap {

/// N×H×W values.
struct ImageStack {
    int images = 0, height = 0, width = 0;
    std::vector<float> values;

    std::int64_t pixels() const { return std::int64_t(height) * width; }
};

/// Λ of every image of a stack: one number, a map H×W, or two (vertical, horizontal).
struct Map {
    MapKind kind = MapKind::scalar;
    std::vector<float> values;
};

/// Throws Error unless every value is finite; `name` opens the message.
void check_finite(const std::string& name, const std::vector<float>& values);

/// The problem of a stack and its map. Throws Error for sizes that do not fit, values that are not finite, a
/// negative Λ, and what pdhg_problem refuses (to which `where` goes).
PdhgProblem solver_problem(const SolverConfig& solver, const ImageStack& z, const Map& lambda,
                           const KeyPlace& where = {});

/// Throws Error unless there is a finite clean image for each of z.
void check_target(const ImageStack& z, const ImageStack& target);

/// The iterates of a solve: N×H×W each, q N×2×H×W (vertical plane, then horizontal). Of a restoration
/// (engine/solver/family_solver.h): x and x_bar are u and ū, N×fields×H×W, p is r, q N×components×H×W.
struct SolverState {
    std::vector<float> x, x_bar, p, q;
    /// c in x̄ = x − c·(p + ∇ᵀq): θτ of the step that left them, 0 for a start.
    float extrapolation = 0;
    /// Of what problem they are.
    Regulariser regulariser = Regulariser::tv;
    DataTerm data = DataTerm::identity;
    Boundary boundary = Boundary::periodic;  ///< read of tgv alone, where it changes what x̄ must be

    SolverState() = default;
    explicit SolverState(std::size_t values) : x(values), x_bar(values), p(values), q(2 * values) {}
    bool empty() const { return x.empty(); }
};

struct SolveOptions {
    int repeat = 1;          ///< runs; the time is their median
    bool watch_gap = false;  ///< measures the gap every `check_every` steps (one run alone)
    double tolerance = -1;   ///< stops where every image's relative gap is at most this; below 0: never
    int check_every = 32;
    /// Goes on from these iterates unless they are empty, and leaves there those reached (one run alone). They
    /// are checked (engine/solver/solver_state.h), and brought within the bounds of this Λ and boundary.
    SolverState* state = nullptr;
    /// Called at each measurement, with the image and its gap.
    std::function<void(int step, int image, const cpu::PdhgGap& gap)> trace;
    /// The same for the residuals of the step before; measured where this is given.
    std::function<void(int step, int image, const PdhgResiduals& residuals)> residuals;
    /// Called now and then in long work (one run alone); false stops it.
    std::function<bool(int step)> proceed;
};

struct Solution {
    /// N×H×W: the last iterate or, where a tolerance was given, that of the smallest gap, image by image. The given
    /// state is among them only where it needs no step.
    std::vector<float> x;
    int steps = 0;                   ///< that were done, those before the given state not counted
    double seconds = 0;              ///< in the solver, gaps not counted
    std::vector<cpu::PdhgGap> gaps;  ///< of x, by image; empty unless watched
    bool reached = false;            ///< the tolerance
    bool stopped = false;            ///< by proceed
};
Solution solve(Backend& backend, const SolverConfig& solver, const ImageStack& z, const Map& lambda,
               const SolveOptions& options);

struct SolverGradient {
    double mse = 0;               ///< mean((x_T − target)²) over all images
    std::vector<float> d_lambda;  ///< ∂mse/∂Λ, the shape of Λ
    std::vector<float> d_z;       ///< ∂mse/∂z, N×H×W, if asked for
    double seconds = 0;           ///< median over the runs: solver, loss and adjoint
    int adjoint_steps = 0;        ///< that were done: implicit stops when it has converged
    std::size_t saved_bytes = 0, workspace_bytes = 0;  ///< of the mode: kept for the adjoint, and scratch
    std::size_t bytes = 0;  ///< taken beyond z, Λ and target: both of these, result and gradients
};
/// The gradient as solver.gradient makes it.
SolverGradient solver_gradient(Backend& backend, const SolverConfig& solver, const ImageStack& z,
                               const Map& lambda, const ImageStack& target, int repeat, bool with_d_z);

/// Median of a list that is not empty (the upper one of an even count).
double median(std::vector<double> values);

}  // namespace tvmap
