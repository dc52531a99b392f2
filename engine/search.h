// The scalar that denoises an image best: the solver for every value at once, each result measured against
// the clean image.
#pragma once
#include <functional>
#include <vector>

#include "engine/config.h"
#include "engine/quality.h"

namespace tvmap {

struct ScalarCurve {
    std::vector<Quality> quality;  ///< by λ
    double seconds = 0;            ///< median over the runs, solver alone
};

/// The place of the best λ by one of the measures, the first of equals.
int best_of(const std::vector<Quality>& curve, double Quality::*measure);

/// noisy and clean: H×W. λ are solved in batches whose results take at most `batch_bytes`. proceed (may be
/// empty) is called after each batch; false ends the search by Interrupted.
ScalarCurve scalar_search(const SolverConfig& solver, const float* noisy, const float* clean, int height,
                          int width, const std::vector<float>& lambdas, int repeat,
                          const std::function<bool(int done)>& proceed, std::size_t batch_bytes = 128 << 20);

/// `count` values from `from` to `to`, both included; `from` alone for a count of 1.
std::vector<double> equally_spaced(double from, double to, int count);

}  // namespace tvmap
