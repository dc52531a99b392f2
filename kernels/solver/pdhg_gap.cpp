// The gap of the solver's iterates, in double.
#include <cmath>

#include "kernels/base/error.h"
#include "kernels/solver/pdhg.h"

namespace tvmap::cpu {

PdhgGap pdhg_gap(const PdhgProblem& problem, const float* z, const float* lambda, const float* x,
                 const float* q) {
    const int height = problem.height, width = problem.width;
    const bool periodic = problem.boundary == Boundary::periodic;
    const std::ptrdiff_t pixels = problem.pixels();
    const auto map = [&](int component, std::ptrdiff_t pixel) {
        switch (problem.map) {
            case MapKind::scalar:
                return double(lambda[0]);
            case MapKind::shared:
                return double(lambda[pixel]);
            default:
                return double(lambda[component * pixels + pixel]);
        }
    };
    const auto bounded = [&](int component, std::ptrdiff_t pixel) {
        const float value = q[component * pixels + pixel];
        if (!(std::abs(value) <= map(component, pixel))) {
            fail("pdhg_gap: the ", component == 0 ? "vertical" : "horizontal", " q of pixel ", pixel, " is ",
                 value, ", outside its bound of ", map(component, pixel),
                 "; there is no gap for such a q: project it first");
        }
        return double(value);
    };
    double fidelity = 0, variation = 0, image = 0, residual = 0, cancelled = 0;
    for (int i = 0; i < height; ++i) {
        const bool last_row = i + 1 == height;
        const std::ptrdiff_t row = std::ptrdiff_t(i) * width;
        const std::ptrdiff_t row_below = last_row ? 0 : row + width;
        const std::ptrdiff_t row_above = i == 0 ? std::ptrdiff_t(height - 1) * width : row - width;
        for (int j = 0; j < width; ++j) {
            const bool last_column = j + 1 == width;
            const std::ptrdiff_t here = row + j, right = row + (last_column ? 0 : j + 1);
            const std::ptrdiff_t left = row + (j == 0 ? width - 1 : j - 1);
            const bool vertical = periodic || !last_row, horizontal = periodic || !last_column;
            double transposed = 0, size = std::abs(z[here]);  // ∇ᵀq
            const auto add = [&](double term) {
                transposed += term;
                size += std::abs(term);
            };
            if (periodic || i > 0) add(q[row_above + j]);
            if (vertical) add(-bounded(0, here));
            if (periodic || j > 0) add(q[pixels + left]);
            if (horizontal) add(-bounded(1, here));
            if (vertical) variation += map(0, here) * std::abs(double(x[row_below + j]) - x[here]);
            if (horizontal) variation += map(1, here) * std::abs(double(x[right]) - x[here]);
            const double noise = double(x[here]) - z[here], rest = z[here] - transposed;
            fidelity += noise * noise;
            image += double(z[here]) * z[here];
            residual += rest * rest;
            cancelled += size * std::abs(rest);
        }
    }
    PdhgGap result;
    result.primal = 0.5 * fidelity + variation;
    result.gap = result.primal - 0.5 * (image - residual);
    // What rounding can make of a gap of 0: of sums of so many terms, and of ∇ᵀq where its terms cancel.
    const double rounding =
        0x1p-53 * (double(pixels + 16) * (result.primal + 0.5 * (image + residual)) + 16 * cancelled);
    if (!(result.gap >= -rounding)) {
        fail("pdhg_gap: a gap of ", result.gap, " (rounding accounts for ", -rounding,
             ") is impossible; the images' values may be too large for single precision");
    }
    return result;
}

}  // namespace tvmap::cpu
