// How the solver walks: between kernels/solver/pdhg.cpp, which lays out memory and shares out work, and
// kernels/solver/pdhg_sweep.cpp, which iterates. Not for users.
//
// Memory. One solve lives in H records, one per image row; a record holds one row of every plane, so a step
// on a row touches one stretch of memory. x̄ is last: the floats after its W values hold the neighbour across
// the border. Planes are W rounded up to whole groups of 16 pixels; what the surplus pixels hold is
// arbitrary and reaches no pixel of the image.
//
// Order. Step k on row i needs x̄_k of rows i and i+1, and the new q of row i−1: its dual half (p, q) the
// former, its primal half (x, x̄) the latter. A sweep takes a band of n rows through K steps at a stretch.
// With rows counted from the band's first, step j of the sweep (0 … K−1) does
//     body: dual of row j, both halves of rows j+1 … n−1−j
//     seam: both halves of rows n−j … n+j−1, primal of row n+j                (reaching into the band below)
// The body needs nothing from other bands, the seam the body of the band below; so a band waits once in K
// steps, and the periodic border, itself a seam, costs nothing. Afterwards rows K … n+K−1 have made K steps:
// they are the band of the next sweep. Both parts run as a wavefront, each step one row behind the one
// before, so that K steps use a row while it is in the cache. Needs K ≤ n/2, for the only band K ≤ (n+1)/2.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kernels/solver/pdhg_problem.h"

namespace tvmap::cpu {

/// Planes of a record. Forward: x, p, q (two), z, Λ (none for a scalar, one, two), x̄. Adjoint: the same names
/// for Y, P̃, Q̃, Ȳ; ΣP̃ in the place of z and d_Λ in that of Λ.
struct PdhgRecord {
    int groups = 0;
    std::ptrdiff_t p = 0, q_vertical = 0, q_horizontal = 0, z = 0, lambda = 0, lambda_horizontal = 0,
                   x_bar = 0;
    std::ptrdiff_t floats = 0;  ///< of one record
    static constexpr std::ptrdiff_t x = 0;
};

/// Bodies that a band has finished, on a cache line of its own; −1: its rows are not loaded yet.
struct alignas(64) PdhgProgress {
    std::atomic<int> bodies{-1};
};

/// What a band has to do.
struct PdhgBand {
    const PdhgProblem* problem = nullptr;
    PdhgRecord record;
    float* rows = nullptr;          ///< H records
    std::uint8_t* masks = nullptr;  ///< of this solve; forward writes them unless null, the adjoint reads
    bool one_mask = false;          ///< adjoint: the masks are of one step, for every step
    bool sum_p = false;             ///< adjoint: whether ΣP̃ is wanted
    float lambda = 0;               ///< scalar map
    int iterations = 0;
    int first = 0, count = 0;                       ///< rows of the first sweep
    int depth = 1;                                  ///< K at most; the same for all bands of an image
    PdhgProgress *own = nullptr, *below = nullptr;  ///< null: the band is the whole image
};

/// Sets the floats after x̄'s row to the neighbour across the border.
inline void pdhg_close_row(Boundary boundary, int width, float* x_bar) {
    x_bar[width] = x_bar[boundary == Boundary::periodic ? 0 : width - 1];
}

/// Runs all steps. The rows that the band owns at the end are first + iterations (mod H) and on.
void pdhg_sweep_forward(const PdhgBand& band);
void pdhg_sweep_adjoint(const PdhgBand& band);

}  // namespace tvmap::cpu
