#include "engine/solver/residuals.h"

#include <cmath>

namespace tvmap {

PdhgResiduals pdhg_residuals(const PdhgProblem& problem, const PdhgState& before, const PdhgState& after) {
    const int height = problem.height, width = problem.width;
    const bool periodic = problem.boundary == Boundary::periodic;
    const std::int64_t pixels = problem.pixels();
    const double tau = problem.tau, sigma = problem.sigma;
    // x̄ − x₊
    const auto ahead = [&](int i, int j) {
        const std::int64_t at = std::int64_t(i) * width + j;
        return double(before.x_bar[at]) - after.x[at];
    };
    double primal = 0, dual = 0;
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j) {
            const std::int64_t at = std::int64_t(i) * width + j;
            const double moved = (double(before.x[at]) - after.x[at]) / tau;
            primal += moved * moved;

            const double here = ahead(i, j);
            const double of_p = (double(before.p[at]) - after.p[at]) / sigma + here;
            dual += of_p * of_p;
            const auto of_q = [&](std::int64_t q, double difference) {
                const double residual = (double(before.q[q]) - after.q[q]) / sigma + difference;
                dual += residual * residual;
            };
            if (periodic || i + 1 < height) of_q(at, ahead((i + 1) % height, j) - here);
            if (periodic || j + 1 < width) of_q(pixels + at, ahead(i, (j + 1) % width) - here);
        }
    return {std::sqrt(primal), std::sqrt(dual)};
}

}  // namespace tvmap
