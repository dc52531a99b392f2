// The scalar that denoises an image best: the solver for every value and many images at once, each result
// measured against the clean image.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "engine/config/config.h"
#include "engine/data/quality.h"

namespace tvmap {

/// The curve of one image.
struct ScalarCurve {
    std::vector<Quality> quality;  ///< by λ
    double seconds = 0;            ///< the image's share of the solver's time, median over the runs
};

/// The place of the best λ by one of the measures, the first of equals; none where the measure is NaN for all
/// of them (SSIM on images smaller than its window).
std::optional<int> best_of(const std::vector<Quality>& curve, double Quality::*measure);

/// Images as they were observed and their clean counterparts on the host, N×H×W each.
struct SearchedImages {
    const float* noisy = nullptr;
    const float* clean = nullptr;
    int count = 0, height = 0, width = 0;
    const float* weights = nullptr;  ///< N×H×W where the data term is weights
};

struct SearchOptions {
    int repeat = 1;  ///< runs, of which times are the median
    /// Called after each call of the solver with the solves that are done, of N × λ; false ends the search by Interrupted.
    std::function<bool(int done)> proceed = {};
    std::size_t batch_bytes = 0;  ///< that the results of a call may take; 0: what suits the backend
    double second = 2;            ///< tgv: Λ₀ is that many times Λ₁, which the values are
};

/// The curves of all images for the problem of these settings: its regulariser and operator. All λ of as many images as
/// fit are solved in one call.
std::vector<ScalarCurve> scalar_search(Backend& backend, const SolverConfig& solver,
                                       const SearchedImages& images, const std::vector<float>& lambdas,
                                       const SearchOptions& options = {});

/// The same for a problem of the family that is given: of one image, with the map of a scalar. kernel: of a blur.
std::vector<ScalarCurve> scalar_search(Backend& backend, const SolverProblem& problem,
                                       const std::vector<float>& kernel, int iterations,
                                       const SearchedImages& images, const std::vector<float>& lambdas,
                                       const SearchOptions& options = {});

/// How many images of H×W a search should be given at once: enough to keep all threads or the whole GPU busy,
/// few enough to report on and to stop between them.
int images_at_once(const Backend& backend, const SolverConfig& solver, int height, int width, int lambdas);

}  // namespace tvmap
