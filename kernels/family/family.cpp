// The family on the CPU: row by row, in two or three passes for each step (kernels/family/family_rows.h has the rows).
#include <algorithm>
#include <cstring>

#include "kernels/base/subnormal_numbers.h"
#include "kernels/family/family_rows.h"
#include "kernels/threads/parallel.h"

namespace tvmap::cpu {
namespace {

using namespace tvmap::family;

/// body(solve, row) over all rows of the batch. planes: that a pass reads and writes.
template <class Body>
void for_rows(const Task& t, int planes, const Body& body) {
    const std::int64_t rows = std::int64_t(t.solves) * t.height;
    parallel_for(rows, rows * t.width * planes, [&](std::int64_t r) {
        const SubnormalsAreZero now;
        body(int(r / t.height), int(r % t.height));
    });
}

/// Of means of blocks: a block's once for all of its pixels.
void apply_block_gram(const Task& t, const float* x, std::int64_t stride) {
    const DataOperator n = t.gram;
    const int side = n.factor, bands = t.height / side;
    parallel_for(std::int64_t(t.solves) * bands, 2 * t.solves * t.pixels(), [&](std::int64_t r) {
        const SubnormalsAreZero now;
        const std::int64_t solve = r / bands;
        const int top = int(r % bands) * side;
        float* const out = t.gram_plane + solve * t.pixels() + std::int64_t(top) * t.width;
        for (int left = 0; left < t.width; left += side) {
            const float value = gram_at<float>(n, nullptr, x + solve * stride, top, left);
            for (int row = 0; row < side; ++row)
                std::fill_n(out + std::int64_t(row) * t.width + left, side, value);
        }
    });
}

/// gram_plane = N x for every solve, whose x lie `stride` floats apart; nothing where N is the identity.
void apply_gram(const Task& t, const float* x, std::int64_t stride) {
    if (t.gram_plane == nullptr) return;
    const DataOperator n = t.gram;
    if (n.data == DataTerm::super_resolution) return apply_block_gram(t, x, stride);
    const int work = n.data == DataTerm::blur ? n.rows * n.columns : 1;
    for_rows(t, 3 * work, [&](int solve, int row) {
        const float* from = x + solve * stride;
        float* out = t.gram_plane + solve * t.pixels() + std::int64_t(row) * t.width;
        const float* weights = n.data == DataTerm::weights ? n.weights(solve / n.solves_per_image) : nullptr;
        if (n.data == DataTerm::blur) return family_blur_row(n, from, row, out);
        for (int j = 0; j < t.width; ++j) out[j] = gram_at<float>(n, weights, from, row, j);
    });
}

void dual(const Task& t, FamilyKind kind, int step) {
    for_rows(t, 4 + 3 * t.components,
             [&](int solve, int row) { family_dual_row(t, kind, solve, row, step); });
}

void adjoint_dual(const Task& t, FamilyKind kind, int step) {
    for_rows(t, 4 + 4 * t.components,
             [&](int solve, int row) { family_adjoint_dual_row(t, kind, solve, row, step); });
}

void primal(const Task& t, FamilyKind kind) {
    for_rows(t, 3 * t.fields + t.components,
             [&](int solve, int row) { family_primal_row(t, kind, solve, row); });
}

void start(const Task& t, Regulariser r) {
    for_rows(t, 12, [&](int solve, int row) {
        const Solve s = solve_of(t, solve, 0);
        for_regulariser(r, [&](auto regulariser) {
            for (int j = 0; j < t.width; ++j)
                start_pixel<regulariser.value>(t, s, links(t.height, t.width, t.periodic, row, j),
                                               std::ptrdiff_t(row) * t.width + j);
        });
    });
}

void finish(const Task& t) {
    for_rows(t, 6, [&](int solve, int row) {
        const Solve s = solve_of(t, solve, 0);
        for (int j = 0; j < t.width; ++j) finish_pixel(t, s, solve, std::ptrdiff_t(row) * t.width + j);
    });
}

/// d_lambda of a scalar map: the sum of its plane in double, along every row, then over the rows.
void sum_maps(const Task& t) {
    for (std::int64_t map = 0; map < std::int64_t(t.solves) * t.maps; ++map) {
        const float* plane = t.d_maps + map * t.pixels();
        double total = 0;
        for (int i = 0; i < t.height; ++i) {
            double sum = 0;
            for (int j = 0; j < t.width; ++j) sum += plane[std::int64_t(i) * t.width + j];
            total += sum;
        }
        store(t.accumulate, float(total), t.out.d_lambda, map);
    }
}

}  // namespace

void solver_forward(const SolverProblem& problem, int iterations, const SolverInput& input,
                    const PdhgOutput& output, const PdhgWorkspace& workspace) {
    const Task t = forward_task("solver_forward", problem, iterations, input, output, workspace);
    const FamilyKind kind{problem.regulariser, problem.map, t.masks != nullptr};
    start(t, kind.regulariser);
    for (int k = 0; k < iterations; ++k) {
        apply_gram(t, t.at.x_bar, t.fields * t.pixels());
        dual(t, kind, k);
        primal(t, kind);
    }
    finish(t);
}

void solver_adjoint(const SolverProblem& problem, int iterations, const float* gram,
                    const PdhgAdjoint& adjoint, const SolverDerivatives& derivatives,
                    const PdhgWorkspace& workspace) {
    const Task t = adjoint_task("solver_adjoint", problem, iterations, gram, adjoint, derivatives, workspace);
    if (adjoint.settling != nullptr && adjoint.settling->settled != 0) return;
    const FamilyKind kind{problem.regulariser, problem.map, false};
    start(t, kind.regulariser);
    for (int k = iterations - 1; k >= 0; --k) {
        adjoint_dual(t, kind, k);
        apply_gram(t, t.at.p, t.pixels());
        primal(t, kind);
    }
    finish(t);
    if (t.scalar_map) sum_maps(t);
}

}  // namespace tvmap::cpu
