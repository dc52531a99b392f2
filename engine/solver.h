// The total-variation solver and its gradient on whole arrays, with their arguments checked and their time
// taken (memory is set up outside it). One map serves all images of a stack. The iteration is in
// kernels/pdhg.h.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "engine/config.h"

namespace tvmap {

/// N×H×W values.
struct ImageStack {
    int images = 0, height = 0, width = 0;
    std::vector<float> values;

    std::int64_t pixels() const { return std::int64_t(height) * width; }
};

/// The regularisation parameter of every image of a stack: one number, a map H×W, or two (vertical,
/// horizontal).
struct Regularisation {
    MapKind kind = MapKind::scalar;
    std::vector<float> values;
};

/// Throws Error unless every value is finite; `name` opens the message.
void check_finite(const std::string& name, const std::vector<float>& values);

/// The problem of a stack and its map. Throws Error for sizes that do not fit, values that are not finite, a
/// negative Λ, and what pdhg_problem refuses.
PdhgProblem solver_problem(const SolverConfig& solver, const ImageStack& z, const Regularisation& lambda);

struct SolveOptions {
    int repeat = 1;          ///< runs; the time is their median
    bool watch_gap = false;  ///< measures the gap every `check_every` steps (one run alone)
    double tolerance = -1;   ///< stops when every image's relative gap is at most this; below 0: never
    int check_every = 32;
    /// Called at each measurement, with the image and its gap.
    std::function<void(int step, int image, const cpu::PdhgGap& gap)> trace;
    /// Called now and then in long work (one run alone); false stops it.
    std::function<bool(int step)> proceed;
};

struct Solution {
    std::vector<float> x;  ///< N×H×W; with watch_gap the iterate of the smallest gap, image by image
    int steps = 0;         ///< that were done
    double seconds = 0;    ///< in the solver, gaps not counted
    std::vector<cpu::PdhgGap> gaps;  ///< of x, by image; empty unless watched
    bool reached = false;            ///< the tolerance
    bool stopped = false;            ///< by proceed
};
Solution solve(const SolverConfig& solver, const ImageStack& z, const Regularisation& lambda,
               const SolveOptions& options);

struct SolverGradient {
    double mse = 0;               ///< mean((x_T − target)²) over all images
    std::vector<float> d_lambda;  ///< ∂mse/∂Λ, the shape of Λ
    std::vector<float> d_z;       ///< ∂mse/∂z, N×H×W
    double seconds = 0;           ///< median over the runs: solver, loss and adjoint
    std::size_t bytes = 0;        ///< of masks and workspace: what the gradient needs beyond its arrays
};
/// The exact gradient by the recorded masks. d_z is always computed; it costs next to nothing.
SolverGradient solver_gradient(const SolverConfig& solver, const ImageStack& z, const Regularisation& lambda,
                               const ImageStack& target, int repeat);

/// Median of a list that is not empty (the upper one of an even count).
double median(std::vector<double> values);

}  // namespace tvmap
