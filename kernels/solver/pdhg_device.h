// The solver's step on one pixel, for every mapping onto a GPU. The same expressions in the same order as
// kernels/solver/pdhg_sweep.cpp, which derives the adjoint, so the same bits:
//     dual      p ← (p + a·(x̄ − z))·s        v = q + a·∇x̄        q ← clip(v, −Λ, Λ), decisions e recorded
//     primal    x₊ = x − b·(p + ∇ᵀq)         x̄ ← x₊ + θ(x₊ − x)
// forward: a = σ, b = τ. Adjoint, on Y, Ȳ, P̃, Q̃ in the places of x, x̄, p, q: a = τ, b = σ, no z; e known,
// q ← v where e = 0, else 0, and d_Λ −= e·v; ΣP̃ is kept for d_z = Y + σΣP̃ (− P̃ where p₀ = z).
//
// Borders: x̄ right of the last column and below the last row is that of the first (periodic) or the pixel's
// own (Neumann); q left of the first column and above the first row is that of the last, which under Neumann
// is 0.
#pragma once
#include <cstdint>

#include "kernels/gpu/gpu.h"
#include "kernels/solver/pdhg_problem.h"

namespace tvmap::pdhg {

/// A launch's problem. Pointers that a direction does not use are null; whatever holds one plane per pixel
/// has solves×H×W floats.
struct Task {
    int solves = 1, height = 0, width = 0, solves_per_image = 1, iterations = 0;
    int first_solve = 0;  ///< its number among all that solves_per_image counts; of z alone
    bool neumann = false, start_at_image = false;  ///< p₀ = z
    float a = 0, b = 0, s = 0, theta = 0;
    float sigma = 0;
    const float* z = nullptr;                ///< forward; images×H×W
    const float* lambda = nullptr;           ///< forward; solves×map size
    float* x = nullptr;                      ///< forward
    PdhgState state;                         ///< forward; null or all planes
    bool start_from_state = false;           ///< in either direction
    std::uint8_t* masks = nullptr;           ///< forward writes them unless null, the adjoint reads
    const float* d_x = nullptr;              ///< adjoint
    PdhgAdjointState adjoint_state;          ///< adjoint; null or all planes but maybe sum_p
    bool one_mask = false;                   ///< adjoint: the masks are of one step, for every step
    bool from_image = true;                  ///< adjoint: whether d_z gets more than σΣP̃
    const PdhgSettling* settling = nullptr;  ///< adjoint; may be null
    float* d_lambda = nullptr;               ///< adjoint; may be null; for a scalar map one plane per solve
    float* d_z = nullptr;                    ///< adjoint; may be null
    bool accumulate_map = false, accumulate_image = false;  ///< whether d_lambda, d_z keep what they hold

    __host__ __device__ std::int64_t pixels() const { return std::int64_t(height) * width; }
    /// Whether there is nothing left to do, the same for all threads of a launch.
    __device__ bool settled() const { return settling != nullptr && settling->settled != 0; }
    /// Whether ΣP̃ is wanted.
    __device__ bool sums_p() const { return d_z != nullptr || adjoint_state.sum_p != nullptr; }
};

/// Which direction, and what it does with maps: forward, the planes of Λ (0: one number); adjoint, the planes
/// of d_Λ (0: not wanted).
template <bool writes_masks, int map_planes>
struct Forward {
    static constexpr bool adjoint = false, masks = writes_masks;
    static constexpr int maps = map_planes;
};
template <int map_planes>
struct Adjoint {
    static constexpr bool adjoint = true, masks = true;
    static constexpr int maps = map_planes;
};

struct Direction {
    bool adjoint = false;
    MapKind map = MapKind::shared;
};

/// Calls body(Step()) with the Step that the task asks for. (A scalar map's d_Λ is summed from a plane.)
template <class Body>
void for_step(const Task& task, Direction direction, const Body& body) {
    const bool masks = task.masks != nullptr;
    if (direction.adjoint) {
        if (task.d_lambda == nullptr) return body(Adjoint<0>());
        return direction.map == MapKind::separate ? body(Adjoint<2>()) : body(Adjoint<1>());
    }
    switch (direction.map) {
        case MapKind::scalar:
            return masks ? body(Forward<true, 0>()) : body(Forward<false, 0>());
        case MapKind::shared:
            return masks ? body(Forward<true, 1>()) : body(Forward<false, 1>());
        case MapKind::separate:
            return masks ? body(Forward<true, 2>()) : body(Forward<false, 2>());
    }
}

/// The decision on one component of one pixel.
struct Decision {
    bool above = false, below = false;  ///< v > Λ, v < −Λ
};

__device__ inline Decision compare(float v, float lambda) { return {v > lambda, v < -lambda}; }

/// A group's decisions, 8 bytes as they lie in memory: `vertical` and `horizontal` have v > Λ in the low
/// half, v < −Λ in the high half.
struct Word {
    unsigned vertical, horizontal;
};
/// The decision that pixel `bit` has in one of a word's components; pixel_bit is 1 << bit.
__device__ inline Decision decision(unsigned component, unsigned pixel_bit) {
    return {(component & pixel_bit) != 0, (component & pixel_bit << 16) != 0};
}

/// Bytes before the word of a group of 16 pixels.
__host__ __device__ inline std::int64_t word_offset(const Task& t, int solve, int iteration, int row,
                                                    int group) {
    const int groups = (t.width + pdhg_group - 1) / pdhg_group;
    const int steps = t.one_mask ? 1 : t.iterations, step = t.one_mask ? 0 : iteration;
    return (((std::int64_t(solve) * steps + step) * t.height + row) * groups + group) *
           std::int64_t(pdhg_group_mask_bytes);
}
__device__ inline Word load_word(const Task& t, std::int64_t offset) {
    const uint2 word = *reinterpret_cast<const uint2*>(t.masks + offset);
    return {word.x, word.y};
}
/// Packs a warp's decisions on one component for the group that begins at lane 8·octet.
__device__ inline unsigned pack(unsigned above, unsigned below, unsigned octet) {
    // Bytes octet and octet + 1 of either.
    const unsigned selector = (octet | (octet + 1) << 4 | (octet + 4) << 8 | (octet + 5) << 12) & 0x7777;
    return __byte_perm(above, below, selector);
}
/// Stores the word of a group that begins `columns` before the image's right border: the bits of pixels that
/// there are, and zeros.
__device__ inline void store_word(const Task& t, std::int64_t offset, Word word, int columns) {
    const unsigned half = (1u << min(max(columns, 0), pdhg_group)) - 1, pixels = half | half << 16;
    *reinterpret_cast<uint2*>(t.masks + offset) =
        make_uint2(word.vertical & pixels, word.horizontal & pixels);
}

__device__ inline float next_p(const Task& t, float p, float pull) { return (p + t.a * pull) * t.s; }

/// v = q + a·(difference of x̄).
__device__ inline float unclipped(const Task& t, float q, float difference) { return q + t.a * difference; }

/// min(max(v, −Λ), Λ). Of equal values the second, as the CPU's vector instructions have it: Λ = 0 gives +0.
__device__ inline float clip(float v, float lambda) {
    const float raised = fmaxf(v, -lambda);
    return raised < lambda ? raised : lambda;
}

/// v where it was not clipped, else 0.
__device__ inline float pass(float v, Decision e) { return e.above || e.below ? 0.0f : v; }

/// d_Λ − e·v.
__device__ inline float map_gradient(float d_lambda, float v, Decision e) {
    return e.above ? d_lambda - v : e.below ? d_lambda + v : d_lambda;
}

struct Primal {
    float x, x_bar;
};
__device__ inline Primal primal(const Task& t, float x, float p, float above, float q_vertical, float left,
                                float q_horizontal) {
    const float transposed = (above - q_vertical) + (left - q_horizontal);
    const float next = x - t.b * (p + transposed);
    return {next, next + t.theta * (next - x)};
}

/// A pixel of a solve.
struct Place {
    int solve, row, column;
};
/// Where it lies in solves×H×W.
__device__ inline std::int64_t index(const Task& t, Place at) {
    return at.solve * t.pixels() + std::int64_t(at.row) * t.width + at.column;
}
/// Where a component lies in solves×planes×H×W.
__device__ inline std::int64_t index(const Task& t, Place at, int planes, int component) {
    return index(t, at) + (planes == 2 ? (at.solve + component) * t.pixels() : 0);
}
__device__ inline float image(const Task& t, Place at) {
    return t.z[index(t, {(t.first_solve + at.solve) / t.solves_per_image, at.row, at.column})];
}
template <class Step>
__device__ inline float map(const Task& t, Place at, int component) {
    return t.lambda[Step::maps == 0 ? at.solve : index(t, at, Step::maps, component)];
}

/// What a step changes. Adjoint: Y, Ȳ, P̃, Q̃.
struct Iterates {
    float x, x_bar, p, q_vertical, q_horizontal;
};

template <class Step>
__device__ inline Iterates first_iterates(const Task& t, Place at) {
    const std::int64_t here = index(t, at);
    if (t.start_from_state) {
        const PdhgAdjointState& a = t.adjoint_state;
        const PdhgState from = Step::adjoint ? PdhgState{a.y, a.y_bar, a.p, a.q} : t.state;
        // Neumann: the differences across the border do not exist; their q stays 0.
        const bool last_row = t.neumann && at.row + 1 == t.height;
        const bool last_column = t.neumann && at.column + 1 == t.width;
        return {from.x[here], from.x_bar[here], from.p[here], last_row ? 0.0f : from.q[index(t, at, 2, 0)],
                last_column ? 0.0f : from.q[index(t, at, 2, 1)]};
    }
    if constexpr (Step::adjoint) return {t.d_x[here], t.d_x[here], 0.0f, 0.0f, 0.0f};
    const float z = image(t, at);
    return {z, z, t.start_at_image ? z : 0.0f, 0.0f, 0.0f};
}
/// The adjoint's ΣP̃ at the start.
__device__ inline float first_sum_p(const Task& t, Place at) {
    const float* sum_p = t.adjoint_state.sum_p;
    return t.start_from_state && sum_p != nullptr ? sum_p[index(t, at)] : 0.0f;
}

/// Leaves iterates in a state; nowhere if it is null.
__device__ inline void store_state(const Task& t, Place at, const PdhgState& state, const Iterates& last) {
    if (state.x == nullptr) return;
    const std::int64_t here = index(t, at);
    state.x[here] = last.x;
    state.x_bar[here] = last.x_bar;
    state.p[here] = last.p;
    state.q[index(t, at, 2, 0)] = last.q_vertical;
    state.q[index(t, at, 2, 1)] = last.q_horizontal;
}

__device__ inline void store_forward(const Task& t, Place at, const Iterates& last) {
    t.x[index(t, at)] = last.x;
    store_state(t, at, t.state, last);
}

__device__ inline void store(bool accumulate, float value, float& target) {
    target = accumulate ? target + value : value;
}
/// d_lambda: of the vertical component or of both, then of the horizontal one.
template <class Step>
__device__ inline void store_adjoint(const Task& t, Place at, const Iterates& last, float sum_p,
                                     float d_lambda, float d_lambda_horizontal) {
    if constexpr (Step::maps > 0) {
        store(t.accumulate_map, d_lambda, t.d_lambda[index(t, at, Step::maps, 0)]);
    }
    if constexpr (Step::maps == 2)
        store(t.accumulate_map, d_lambda_horizontal, t.d_lambda[index(t, at, 2, 1)]);
    if (t.d_z != nullptr) {
        const float sum = t.sigma * sum_p;
        const float value = t.from_image ? last.x + sum - (t.start_at_image ? 1.0f : 0.0f) * last.p : sum;
        store(t.accumulate_image, value, t.d_z[index(t, at)]);
    }
    const PdhgAdjointState& a = t.adjoint_state;
    store_state(t, at, {a.y, a.y_bar, a.p, a.q}, last);
    if (a.sum_p != nullptr) a.sum_p[index(t, at)] = sum_p;
}

}  // namespace tvmap::pdhg
