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

/// Noisy images and their clean counterparts on the host, N×H×W each.
struct SearchedImages {
    const float* noisy = nullptr;
    const float* clean = nullptr;
    int count = 0, height = 0, width = 0;
};

/// The curves of all images. All λ of as many images as fit are solved in one call, so that results take at
/// most `batch_bytes` (0: what suits the backend). proceed (may be empty) is called after each call with the
/// solves that are done, of N × λ; false ends the search by Interrupted.
std::vector<ScalarCurve> scalar_search(Backend& backend, const SolverConfig& solver,
                                       const SearchedImages& images, const std::vector<float>& lambdas,
                                       int repeat, const std::function<bool(int done)>& proceed,
                                       std::size_t batch_bytes = 0);

/// How many images of H×W a search should be given at once: enough to keep all threads or the whole GPU busy,
/// few enough to report on and to stop between them.
int images_at_once(const Backend& backend, const SolverConfig& solver, int height, int width, int lambdas);

}  // namespace tvmap
