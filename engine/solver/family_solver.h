// The solver's family (kernels/family/family.h) and its gradient on whole arrays of the host, as engine/solver/solver.h has
// them for denoising by total variation. One map and one array of the data term serve all images of a stack.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "engine/solver/search.h"
#include "engine/solver/solver.h"
#include "kernels/family/family.h"

namespace tvmap {

/// How images came to be what they are: A, with its array.
struct Observation {
    DataTerm data = DataTerm::identity;
    int rows = 1, columns = 1;  ///< blur: of the kernel
    int factor = 1;             ///< super_resolution
    float threshold = 0;        ///< huber
    std::vector<float> values;  ///< weights: H×W; blur: the kernel, rows×columns
    double gram_norm = 0;       ///< ‖N‖ as the steps should take it, no less than it is; 0: as it is
    bool from_image = false;    ///< weights: starts from the images, not from W z
};

/// That of an image of counts, whose pixels weigh by count_weights() (engine/data/counts.h), at most most_weight.
Observation counted_image(std::vector<float> weights);

/// Images, how they were observed, and the maps that restore them.
struct Restoration {
    Observation observation;
    ImageStack z;  ///< N images, for super_resolution of (H/factor)×(W/factor)
    Map lambda;    ///< as many numbers or planes, one after the other, as SolverProblem::maps() says

    int height() const { return z.height * observation.factor; }
    int width() const { return z.width * observation.factor; }
};

/// One image as an experiment's Observer leaves it (`seen`, N = 1, as large as the restored one, with its weights, or
/// null), to be restored by this map.
Restoration observed_image(const ObservationConfig& observation, const ImageStack& seen, const float* weights,
                           Map lambda);

/// The problem. Throws Error for sizes that do not fit, values that are impossible, and steps that may diverge.
SolverProblem restoration_problem(const SolverConfig& solver, const Restoration& given,
                                  const KeyPlace& where = {});

struct RestoreOptions {
    bool watch_gap = false;  ///< measures the gap every `check_every` steps
    double tolerance = -1;   ///< stops where every image has come so close (see reached()); below 0: never
    int check_every = 32;
    /// Goes on from these iterates unless they are empty, and leaves there those reached. They are checked
    /// (engine/solver/solver_state.h), and brought within the bounds of this Λ and boundary.
    SolverState* state = nullptr;
    std::function<void(int step, int image, const cpu::SolverGap& gap)> trace;  ///< at each measurement
    std::function<bool(int step)> proceed;  ///< called now and then; false stops it
};

/// Whether an iterate is within a tolerance of the objective: its gap and, since that is one where (K*q)_w is 0,
/// ½‖(K*q)_w‖².
bool reached(const cpu::SolverGap& gap, double tolerance);

struct Restored {
    std::vector<float> x;              ///< N×H×W, chosen as in Solution
    int steps = 0;                     ///< that were done, those before the given state not counted
    double seconds = 0;                ///< in the solver, gaps not counted
    std::vector<cpu::SolverGap> gaps;  ///< of x, by image; empty unless watched
    bool reached = false, stopped = false;
};
Restored restore(Backend& backend, const SolverConfig& solver, const Restoration& given,
                 const RestoreOptions& options);

/// The curve of each image (engine/solver/search.h): restored by each scalar of `lambdas`, measured against `clean`, N×H×W.
/// given.lambda is not used.
std::vector<ScalarCurve> restoration_search(Backend& backend, const SolverConfig& solver, Restoration given,
                                            const ImageStack& clean, const std::vector<float>& lambdas,
                                            const SearchOptions& options);

/// d_lambda has the shape of the given Λ, d_z that of z. The mean squared error is that to a target of N×H×W.
SolverGradient restoration_gradient(Backend& backend, const SolverConfig& solver, const Restoration& given,
                                    const ImageStack& target, int repeat, bool with_d_z);

}  // namespace tvmap
