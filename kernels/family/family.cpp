// The family on the CPU: row by row, in two or three passes for each step (kernels/family/family_step.h has the step).
// Inside a row every neighbour is one offset away, so that the compiler makes vectors of the loop; the first and the last
// column, and rows at a border, ask where their neighbours are.
#include <algorithm>
#include <cstring>

#include "kernels/base/parallel.h"
#include "kernels/family/family_step.h"

namespace tvmap::cpu {
namespace {

using namespace tvmap::family;

/// pixel(inside, links, offset) for every pixel of a row; inside: std::true_type where all neighbours exist.
template <class Pixel>
[[gnu::flatten]] void for_row(const Task& t, int row, Pixel pixel) {
    const std::ptrdiff_t first = std::ptrdiff_t(row) * t.width;
    const int last = t.width - 1;
    const auto at = [&](int column) { return links(t.height, t.width, t.periodic, row, column); };
    pixel(std::false_type(), at(0), first);
    if (t.width > 2) {
        const Links within = at(1);
        if (within.v.has_next && within.v.has_previous) {
// No pixel of a pass reads what another of it writes.
#pragma omp simd
            for (int j = 1; j < last; ++j) pixel(std::true_type(), within, first + j);
        } else {
            for (int j = 1; j < last; ++j) pixel(std::false_type(), within, first + j);
        }
    }
    if (last > 0) pixel(std::false_type(), at(last), first + last);
}

/// body(solve, row) over all rows of the batch. planes: that a pass reads and writes.
template <class Body>
void for_rows(const Task& t, int planes, const Body& body) {
    const std::int64_t rows = std::int64_t(t.solves) * t.height;
    parallel_for(rows, rows * t.width * planes,
                 [&](std::int64_t r) { body(int(r / t.height), int(r % t.height)); });
}

/// A row of a blur's N x, tap by tap over the whole row: the sums of circular_sum(), in its order.
void blur_row(const DataOperator& n, const float* x, int row, float* out) {
    std::fill_n(out, n.width, 0.0f);
    for (int a = 0; a < n.rows; ++a) {
        const float* from = x + std::int64_t(wrapped(row + a - n.rows / 2, n.height)) * n.width;
        for (int b = 0; b < n.columns; ++b) {
            const float tap = n.values[a * n.columns + b];
            const int shift = wrapped(b - n.columns / 2, n.width), before = n.width - shift;
#pragma omp simd
            for (int j = 0; j < before; ++j) out[j] = out[j] + tap * from[j + shift];
#pragma omp simd
            for (int j = before; j < n.width; ++j) out[j] = out[j] + tap * from[j - before];
        }
    }
}

/// gram_plane = N x for every solve, whose x lie `stride` floats apart; nothing where N is the identity.
void apply_gram(const Task& t, const float* x, std::int64_t stride) {
    if (t.gram_plane == nullptr) return;
    const DataOperator n = t.gram;
    const int work = n.data == DataTerm::blur ? n.rows * n.columns : n.factor * n.factor;
    for_rows(t, 3 * work, [&](int solve, int row) {
        const float* from = x + solve * stride;
        float* out = t.gram_plane + solve * t.pixels() + std::int64_t(row) * t.width;
        const float* weights = n.data == DataTerm::weights ? n.weights(solve / n.solves_per_image) : nullptr;
        if (n.data == DataTerm::blur) return blur_row(n, from, row, out);
        for (int j = 0; j < t.width; ++j) out[j] = gram_at<float>(n, weights, from, row, j);
    });
}

template <Regulariser r, MapKind kind, bool masks>
void dual(const Task& t, int step) {
    for_rows(t, 4 + 3 * components(r), [&](int solve, int row) {
        const Solve s = solve_of(t, solve, step);
        const float a = t.a, scale = t.s;
        for_row(t, row, [=](auto inside, const Links& at, std::ptrdiff_t here) {
            dual_pixel<r, kind, masks, decltype(inside)::value>(a, scale, s, at, here);
        });
    });
}

template <Regulariser r, MapKind kind>
void adjoint_dual(const Task& t, int step) {
    for_rows(t, 4 + 4 * components(r), [&](int solve, int row) {
        const Solve s = solve_of(t, solve, step);
        const float a = t.a, scale = t.s;
        for_row(t, row, [=](auto inside, const Links& at, std::ptrdiff_t here) {
            adjoint_dual_pixel<r, kind, decltype(inside)::value>(a, scale, s, at, here);
        });
    });
}

template <Regulariser r>
void primal(const Task& t) {
    for_rows(t, 3 * primal_planes(r) + components(r), [&](int solve, int row) {
        const Solve s = solve_of(t, solve, 0);
        const float *dual = t.adjoint ? s.n : s.r, b = t.b, theta = t.theta;
        for_row(t, row, [=](auto inside, const Links& at, std::ptrdiff_t here) {
            primal_pixel<r, decltype(inside)::value>(b, theta, dual, s, at, here);
        });
    });
}

template <Regulariser r>
void start(const Task& t) {
    for_rows(t, 12, [&](int solve, int row) {
        const Solve s = solve_of(t, solve, 0);
        for (int j = 0; j < t.width; ++j)
            start_pixel<r>(t, s, links(t.height, t.width, t.periodic, row, j),
                           std::ptrdiff_t(row) * t.width + j);
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
    for_regulariser(problem.regulariser, [&](auto regulariser) {
        for_map(problem.map, [&](auto map) {
            constexpr Regulariser r = regulariser.value;
            constexpr MapKind kind = map.value;
            start<r>(t);
            for (int k = 0; k < iterations; ++k) {
                apply_gram(t, t.at.x_bar, t.fields * t.pixels());
                t.masks != nullptr ? dual<r, kind, true>(t, k) : dual<r, kind, false>(t, k);
                primal<r>(t);
            }
            finish(t);
        });
    });
}

void solver_adjoint(const SolverProblem& problem, int iterations, const float* gram,
                    const PdhgAdjoint& adjoint, const SolverDerivatives& derivatives,
                    const PdhgWorkspace& workspace) {
    const Task t = adjoint_task("solver_adjoint", problem, iterations, gram, adjoint, derivatives, workspace);
    if (adjoint.settling != nullptr && adjoint.settling->settled != 0) return;
    for_regulariser(problem.regulariser, [&](auto regulariser) {
        constexpr Regulariser r = regulariser.value;
        start<r>(t);
        for (int k = iterations - 1; k >= 0; --k) {
            problem.map == MapKind::separate ? adjoint_dual<r, MapKind::separate>(t, k)
                                             : adjoint_dual<r, MapKind::shared>(t, k);
            apply_gram(t, t.at.p, t.pixels());
            primal<r>(t);
        }
    });
    finish(t);
    if (t.scalar_map) sum_maps(t);
}

}  // namespace tvmap::cpu
