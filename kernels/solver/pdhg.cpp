// Lays out the solver's memory, shares the solves out over the threads, and reads results back. The iteration
// and its derivation are in kernels/solver/pdhg_sweep.cpp.
//
// Sharing: as many solves as go evenly into the threads run one per thread; each of the rest is cut into
// bands of rows for a team of threads. The workspace holds one image's records per solve under way, and its
// size says how many threads it serves.
#include "kernels/solver/pdhg.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"
#include "kernels/base/sizes.h"
#include "kernels/solver/pdhg_problem.h"
#include "kernels/solver/pdhg_sweep.h"
#include "kernels/threads/threads.h"

namespace tvmap::cpu {
namespace {

constexpr int least_band_rows = 8;  // with fewer, waiting outweighs the work (two are the least that work)

PdhgRecord record_of(const PdhgProblem& problem) {
    PdhgRecord at;
    at.groups = int((std::int64_t(problem.width) + pdhg_group - 1) / pdhg_group);
    const std::ptrdiff_t plane = std::ptrdiff_t(at.groups) * pdhg_group;
    at.p = plane;
    at.q_vertical = 2 * plane;
    at.q_horizontal = 3 * plane;
    at.z = 4 * plane;
    at.lambda = 5 * plane;
    at.lambda_horizontal = problem.map == MapKind::separate ? 6 * plane : at.lambda;
    at.x_bar = at.lambda_horizontal + plane;
    at.floats = at.x_bar + plane + pdhg_group;
    if (at.floats / pdhg_group % 2 == 0) at.floats += pdhg_group;  // odd in cache lines: rows do not alias
    return at;
}

// Steps per sweep for a band of so many rows. A sweep of K steps has K+1 records in use: as many as the
// first-level cache takes, or where that is too few to matter, enough to spare the second-level cache.
int sweep_depth(const PdhgRecord& at, int rows, bool alone) {
    constexpr std::ptrdiff_t first_level_cache = 40 * 1024;
    constexpr int deep = 16;
    const int fits = int(first_level_cache / (at.floats * std::ptrdiff_t(sizeof(float)))) - 1;
    return std::min(fits < 3 ? deep : std::clamp(fits, 4, 12), alone ? (rows + 1) / 2 : rows / 2);
}

// The workspace, cut up: counters of the bands, sums of the rows of a scalar map's d_Λ, records.
struct Workspace {
    int threads;  // at most so many run
    int slots;    // solves under way at once
    PdhgProgress* progress;
    double* row_sums;
    float* records;
    PdhgRecord record;
    int height;

    /// For so many threads; the size of all.
    std::size_t cut(const PdhgProblem& problem, int most_threads, void* memory) {
        threads = most_threads;
        slots = std::min(problem.solves, threads);
        const std::int64_t floats =
            checked_product("workspace of the solver, bytes", slots, height, record.floats, sizeof(float)) /
            std::int64_t(sizeof(float));
        BumpAllocator pieces(memory);
        progress = pieces.take<PdhgProgress>(std::size_t(threads));
        row_sums = pieces.take<double>(std::size_t(slots) * std::size_t(height));
        records = pieces.take<float>(std::size_t(floats));
        return pieces.bytes();
    }
    static std::size_t bytes(const PdhgProblem& problem, int threads) {
        return Workspace(problem).cut(problem, threads, nullptr);
    }
    explicit Workspace(const PdhgProblem& problem) : record(record_of(problem)), height(problem.height) {}
    Workspace(const char* where, const PdhgProblem& problem, const PdhgWorkspace& given)
        : Workspace(problem) {
        check_pdhg_workspace(where, given, bytes(problem, 1));
        int most = omp_get_max_threads();
        while (cut(problem, most, given.memory) > given.bytes) --most;  // it was made for fewer
        for (int t = 0; t < threads; ++t) new (progress + t) PdhgProgress;
    }
    float* rows(int slot) const { return records + std::ptrdiff_t(slot) * height * record.floats; }
    double* sums(int slot) const { return row_sums + std::ptrdiff_t(slot) * height; }
};

// Calls work(solve, slot, band) for every band of every solve, in parallel, and then finish(solve, slot)
// once per solve. work loads rows first … first+count−1, sweeps and stores.
template <class Work, class Finish>
void share_out(const PdhgProblem& problem, const Workspace& space, int iterations, const Work& work,
               const Finish& finish) {
    int whole = 0;
    // Below some microseconds of work, waking threads costs more than they save.
    const bool worthwhile = problem.pixels() * problem.solves * iterations > 1 << 15;
    // Bands wait for one another in every sweep. Beside other work one of them has half a processor, so that two take as long
    // as one does alone, and the waits come on top. (Three and more are faster all the same.)
    const bool alone = space.threads == 2 && problem.solves == 1 && beside_other_work();
    const int most_threads = alone ? 1 : space.threads;
#pragma omp parallel num_threads(most_threads) if (worthwhile)
    {
        const int threads = omp_get_num_threads(), thread = omp_get_thread_num();
        PdhgBand band;
        band.problem = &problem;
        band.record = space.record;
        band.iterations = iterations;
        band.count = problem.height;
        band.depth = sweep_depth(space.record, problem.height, true);
        band.rows = space.rows(std::min(thread, space.slots - 1));
        const int rest = problem.solves % threads, evenly = problem.solves - rest;
        if (thread == 0) whole = evenly;
#pragma omp for schedule(dynamic, 1) nowait
        for (int solve = 0; solve < evenly; ++solve) {
            work(solve, thread, band);
            finish(solve, thread);
        }
        if (rest > 0) {
            if (evenly > 0) {  // the rest uses the slots again
#pragma omp barrier
            }
            const int team = std::clamp(problem.height / least_band_rows, 1, threads / rest);
            const int slot = thread / team, member = thread % team;
            if (slot < rest) {
                band.rows = space.rows(slot);
                band.first = int(std::int64_t(problem.height) * member / team);
                band.count = int(std::int64_t(problem.height) * (member + 1) / team) - band.first;
                if (team > 1) {
                    PdhgProgress* progress = space.progress + slot * team;
                    band.own = progress + member;
                    band.depth = sweep_depth(space.record, problem.height / team, false);
                    band.below = progress + (member + 1) % team;
                }
                work(evenly + slot, slot, band);
            }
        }
    }
    for (int solve = whole; solve < problem.solves; ++solve) finish(solve, solve - whole);
}

// Announces that a band's rows are loaded.
void publish_loaded(const PdhgBand& band) {
    if (band.own != nullptr) band.own->bodies.store(0, std::memory_order_release);
}

// Calls body(i, record of row i) for the rows that the band owns after its last step, and so that it need
// not wait for others.
template <class Body>
void for_final_rows(const PdhgBand& band, const Body& body) {
    for (int r = 0; r < band.count; ++r) {
        const int i = int((std::int64_t(band.first) + band.iterations + r) % band.problem->height);
        body(i, band.rows + i * band.record.floats);
    }
}

// Row i of a state's q, from the vertical plane's row on, into the record of zeros, and back.
void load_dual(const PdhgProblem& problem, int i, const float* q, const PdhgRecord& at, float* record) {
    const bool neumann = problem.boundary == Boundary::neumann;
    const std::size_t row_bytes = std::size_t(problem.width) * sizeof(float);
    // Neumann: the differences across the border do not exist; their q stays 0.
    if (!neumann || i + 1 < problem.height) std::memcpy(record + at.q_vertical, q, row_bytes);
    std::memcpy(record + at.q_horizontal, q + problem.pixels(), row_bytes);
    if (neumann) record[at.q_horizontal + problem.width - 1] = 0.0f;
}
void store_dual(const PdhgProblem& problem, const float* record, const PdhgRecord& at, float* q) {
    const std::size_t row_bytes = std::size_t(problem.width) * sizeof(float);
    std::memcpy(q, record + at.q_vertical, row_bytes);
    std::memcpy(q + problem.pixels(), record + at.q_horizontal, row_bytes);
}

void store(float value, Write write, float& target) {
    target = write == Write::overwrite ? value : target + value;
}

}  // namespace

std::size_t pdhg_workspace_bytes(const PdhgProblem& problem) {
    return Workspace::bytes(problem, omp_get_max_threads());
}

void pdhg_forward(const PdhgProblem& problem, int iterations, const PdhgInput& input,
                  const PdhgOutput& output, const PdhgWorkspace& workspace) {
    const PdhgState* state = output.state;
    check_pdhg("pdhg_forward", problem, iterations);
    if (output.start_from_state && state == nullptr) {
        fail("pdhg_forward: told to start from a state but given none; pass the state or start afresh");
    }
    const Workspace space("pdhg_forward", problem, workspace);
    const PdhgRecord& at = space.record;
    const int width = problem.width;
    const std::ptrdiff_t pixels = problem.pixels();
    const std::size_t row_bytes = std::size_t(width) * sizeof(float);
    const std::size_t mask_bytes = std::size_t(iterations) * problem.height * pdhg_mask_row_bytes(width);

    const auto load_row = [&](int solve, int i, float* record) {
        std::fill_n(record, at.floats, 0.0f);
        const std::ptrdiff_t row = std::ptrdiff_t(i) * width, pixel = solve * pixels + row;
        const float* image = input.z + solve / problem.solves_per_image * pixels + row;
        std::memcpy(record + at.z, image, row_bytes);
        if (problem.map != MapKind::scalar) {
            const float* map = input.lambda + solve * problem.map_size() + row;
            std::memcpy(record + at.lambda, map, row_bytes);
            if (problem.map == MapKind::separate) {
                std::memcpy(record + at.lambda_horizontal, map + pixels, row_bytes);
            }
        }
        if (output.start_from_state) {
            std::memcpy(record + at.x, state->x + pixel, row_bytes);
            std::memcpy(record + at.x_bar, state->x_bar + pixel, row_bytes);
            std::memcpy(record + at.p, state->p + pixel, row_bytes);
            load_dual(problem, i, state->q + solve * 2 * pixels + row, at, record);
        } else {
            std::memcpy(record + at.x, image, row_bytes);
            std::memcpy(record + at.x_bar, image, row_bytes);
            if (problem.dual_start == DualStart::image) std::memcpy(record + at.p, image, row_bytes);
        }
        pdhg_close_row(problem.boundary, width, record + at.x_bar);
    };
    const auto store_row = [&](int solve, int i, const float* record) {
        const std::ptrdiff_t row = std::ptrdiff_t(i) * width, pixel = solve * pixels + row;
        std::memcpy(output.x + pixel, record + at.x, row_bytes);
        if (state != nullptr) {
            std::memcpy(state->x + pixel, record + at.x, row_bytes);
            std::memcpy(state->x_bar + pixel, record + at.x_bar, row_bytes);
            std::memcpy(state->p + pixel, record + at.p, row_bytes);
            store_dual(problem, record, at, state->q + solve * 2 * pixels + row);
        }
    };
    share_out(
        problem, space, iterations,
        [&](int solve, int, PdhgBand& band) {
            for (int i = band.first; i < band.first + band.count; ++i) {
                load_row(solve, i, band.rows + i * at.floats);
            }
            publish_loaded(band);
            band.masks = output.masks == nullptr ? nullptr : output.masks + std::size_t(solve) * mask_bytes;
            if (problem.map == MapKind::scalar) band.lambda = input.lambda[solve];
            pdhg_sweep_forward(band);
            for_final_rows(band, [&](int i, const float* record) { store_row(solve, i, record); });
        },
        [](int, int) {});
}

void pdhg_adjoint(const PdhgProblem& problem, int iterations, const PdhgAdjoint& adjoint,
                  const PdhgDerivatives& derivatives, const PdhgWorkspace& workspace) {
    check_pdhg("pdhg_adjoint", problem, iterations);
    if (adjoint.masks == nullptr && iterations > 0) {
        fail("pdhg_adjoint: no masks; run pdhg_forward with masks and pass them on");
    }
    if (adjoint.start_from_state && adjoint.state == nullptr) {
        fail("pdhg_adjoint: told to start from a state but given none; pass the state or start afresh");
    }
    if (adjoint.settling != nullptr && adjoint.settling->settled != 0) return;
    const Workspace space("pdhg_adjoint", problem, workspace);
    const PdhgRecord& at = space.record;
    const int width = problem.width;
    const std::ptrdiff_t pixels = problem.pixels();
    const std::size_t row_bytes = std::size_t(width) * sizeof(float);
    const std::size_t mask_bytes =
        std::size_t(adjoint.one_mask ? 1 : iterations) * problem.height * pdhg_mask_row_bytes(width);
    const PdhgAdjointState* state = adjoint.state;
    float *const d_lambda = derivatives.d_lambda, *const d_z = derivatives.d_z;
    const Write write = derivatives.write;

    const auto load_row = [&](int solve, int i, float* record) {
        std::fill_n(record, at.floats, 0.0f);
        const std::ptrdiff_t row = std::ptrdiff_t(i) * width, pixel = solve * pixels + row;
        if (adjoint.start_from_state) {
            std::memcpy(record + at.x, state->y + pixel, row_bytes);
            std::memcpy(record + at.x_bar, state->y_bar + pixel, row_bytes);
            std::memcpy(record + at.p, state->p + pixel, row_bytes);
            load_dual(problem, i, state->q + solve * 2 * pixels + row, at, record);
            if (state->sum_p != nullptr) std::memcpy(record + at.z, state->sum_p + pixel, row_bytes);
        } else {
            std::memcpy(record + at.x, adjoint.d_x + pixel, row_bytes);
            std::memcpy(record + at.x_bar, adjoint.d_x + pixel, row_bytes);
        }
        pdhg_close_row(problem.boundary, width, record + at.x_bar);
    };
    const auto store_row = [&](int solve, int slot, int i, const float* record) {
        const std::ptrdiff_t row = std::ptrdiff_t(i) * width, pixel = solve * pixels + row;
        if (d_lambda != nullptr) {
            float* map = d_lambda + solve * problem.map_size() + row;
            switch (problem.map) {
                case MapKind::separate:
                    for (int j = 0; j < width; ++j) {
                        store(record[at.lambda_horizontal + j], write, map[pixels + j]);
                    }
                    [[fallthrough]];
                case MapKind::shared:
                    for (int j = 0; j < width; ++j) store(record[at.lambda + j], write, map[j]);
                    break;
                case MapKind::scalar: {
                    double sum = 0;
                    for (int j = 0; j < width; ++j) sum += record[at.lambda + j];
                    space.sums(slot)[i] = sum;
                }
            }
        }
        if (d_z != nullptr) {
            const float minus_p = problem.dual_start == DualStart::image ? 1.0f : 0.0f;
            for (int j = 0; j < width; ++j) {
                const float sum = problem.sigma * record[at.z + j];
                const float value =
                    adjoint.from_image ? record[at.x + j] + sum - minus_p * record[at.p + j] : sum;
                store(value, write, d_z[pixel + j]);
            }
        }
        if (state != nullptr) {
            std::memcpy(state->y + pixel, record + at.x, row_bytes);
            std::memcpy(state->y_bar + pixel, record + at.x_bar, row_bytes);
            std::memcpy(state->p + pixel, record + at.p, row_bytes);
            store_dual(problem, record, at, state->q + solve * 2 * pixels + row);
            if (state->sum_p != nullptr) std::memcpy(state->sum_p + pixel, record + at.z, row_bytes);
        }
    };
    share_out(
        problem, space, iterations,
        [&](int solve, int slot, PdhgBand& band) {
            for (int i = band.first; i < band.first + band.count; ++i) {
                load_row(solve, i, band.rows + i * at.floats);
            }
            publish_loaded(band);
            band.masks =
                const_cast<std::uint8_t*>(adjoint.masks) + std::size_t(solve) * mask_bytes;  // only read
            band.one_mask = adjoint.one_mask;
            band.sum_p = d_z != nullptr || (state != nullptr && state->sum_p != nullptr);
            pdhg_sweep_adjoint(band);
            for_final_rows(band, [&](int i, const float* record) { store_row(solve, slot, i, record); });
        },
        [&](int solve, int slot) {
            if (problem.map != MapKind::scalar || d_lambda == nullptr) return;
            double sum = 0;
            for (int i = 0; i < problem.height; ++i) sum += space.sums(slot)[i];
            store(float(sum), write, d_lambda[solve]);
        });
}

void pdhg_settle(int solves, const double* part, const double* sum, double tolerance, int steps,
                 PdhgSettling* settling) {
    if (settling->settled != 0) return;
    settling->steps += steps;
    settling->settled = 1;
    for (int n = 0; n < solves; ++n) {
        if (!(part[n] <= tolerance * tolerance * sum[n])) settling->settled = 0;
    }
}

void pdhg_unpack_mask(const PdhgProblem& problem, int iterations, const std::uint8_t* masks, int solve,
                      int iteration, std::int8_t* e_vertical, std::int8_t* e_horizontal) {
    if (solve < 0 || solve >= problem.solves || iteration < 0 || iteration >= iterations) {
        fail("pdhg_unpack_mask: solve ", solve, " of ", problem.solves, ", iteration ", iteration, " of ",
             iterations, ": count both from 0");
    }
    const std::size_t row_bytes = pdhg_mask_row_bytes(problem.width);
    const std::size_t step = std::size_t(solve) * std::size_t(iterations) + std::size_t(iteration);
    for (int i = 0; i < problem.height; ++i) {
        const std::uint8_t* row = masks + (step * std::size_t(problem.height) + std::size_t(i)) * row_bytes;
        for (int j = 0; j < problem.width; ++j) {
            const std::uint8_t* group = row + j / pdhg_group * pdhg_group_mask_bytes;
            const int byte = j % pdhg_group / 8, bit = j % 8;
            const auto sign = [&](int above) {
                return std::int8_t((group[above + byte] >> bit & 1) - (group[above + 2 + byte] >> bit & 1));
            };
            e_vertical[std::ptrdiff_t(i) * problem.width + j] = sign(0);
            e_horizontal[std::ptrdiff_t(i) * problem.width + j] = sign(4);
        }
    }
}

}  // namespace tvmap::cpu
