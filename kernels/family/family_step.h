// The family's steps on one pixel, said once for the CPU, the GPU and its emulation, so that they have the same bits:
//     dual      r ← (r + a·(N ū − b))·s      v = q + a·K ū      q ← clip(v, −Λ, Λ), decisions e recorded
//               (for DataTerm::huber  r ← clip((r + a·(ū − b))·s, −1, 1), decision recorded behind the others)
//     primal    u₊ = u − b·(r + K*q)         ū ← u₊ + θ(u₊ − u)
// forward: a = σ, b = τ. Adjoint (kernels/family/family.h), on Y, Ȳ, R̃, Q̃ in the places of u, ū, r, q: a = τ, b = σ, no
// image; N applied to r; e known, q ← v where e = 0, else 0 (r too, where it was decided on), and d_Λ −= multiplicity·e·v.
// Not for users.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/family/data_term.h"
#include "kernels/family/differences.h"

namespace tvmap::family {

/// A call's problem. Pointers that a direction does not use are null.
struct Task {
    int solves = 1, height = 0, width = 0, solves_per_image = 1, fields = 1, components = 2, maps = 1;
    bool periodic = true, adjoint = false, scalar_map = false, huber = false;
    float a = 0, b = 0, s = 0, theta = 0, sigma = 0;
    DataOperator gram;                ///< N
    PdhgState at;                     ///< the iterates, in the state given or in the workspace
    float* gram_plane = nullptr;      ///< solves×H×W: N x̄, adjoint: N R̃; null where N is the identity
    const float* image = nullptr;     ///< forward: b
    const float* first = nullptr;     ///< forward: x₀, images×H×W; adjoint: d_x
    bool start_from_state = false;    ///< then `first` is not read
    const float* lambda = nullptr;    ///< forward
    std::uint8_t* masks = nullptr;    ///< forward writes them unless null, the adjoint reads
    std::int64_t steps_of_masks = 1;  ///< whose masks there are; 1: every step's
    float* x = nullptr;               ///< forward
    float* sum_r = nullptr;           ///< adjoint: ΣR̃
    bool clear_sum = true;            ///< whether it starts at 0
    float* d_maps = nullptr;          ///< adjoint: d_Λ of this call, solves×maps×H×W
    SolverDerivatives out;            ///< adjoint
    bool first_in_b = false;          ///< adjoint: d_b takes Y
    bool first_in_start = false;      ///< adjoint: d_start takes Y
    bool accumulate = false;          ///< adjoint: d_lambda, d_b, d_start keep what they hold
    const PdhgSettling* settling = nullptr;

    TVMAP_HOST_DEVICE std::int64_t pixels() const { return std::int64_t(height) * width; }
};

/// One solve's arrays.
struct Solve {
    std::ptrdiff_t plane;  ///< from one field, component or map to the next
    float *u, *u_bar, *r, *q;
    const float* n;  ///< N x̄; adjoint: N R̃
    const float *image, *first, *lambda;
    std::uint8_t* masks;  ///< of one step
    float *sum_r, *d_maps;
};

template <class T>
TVMAP_HOST_DEVICE inline T* advanced(T* pointer, std::int64_t count) {
    return pointer == nullptr ? nullptr : pointer + count;
}

TVMAP_HOST_DEVICE inline Solve solve_of(const Task& t, int solve, std::int64_t step) {
    const std::int64_t plane = t.pixels(), image = solve / t.solves_per_image;
    Solve s;
    s.plane = std::ptrdiff_t(plane);
    s.u = t.at.x + solve * t.fields * plane;
    s.u_bar = t.at.x_bar + solve * t.fields * plane;
    s.r = t.at.p + solve * plane;
    s.q = t.at.q + solve * t.components * plane;
    s.n = t.gram_plane != nullptr ? t.gram_plane + solve * plane : t.adjoint ? s.r : s.u_bar;
    s.image = advanced(t.image, image * plane);
    s.first = advanced(t.first, (t.adjoint ? solve : image) * plane);
    s.lambda = advanced(t.lambda, solve * t.maps * (t.scalar_map ? 1 : plane));
    s.masks = advanced(t.masks, (solve * t.steps_of_masks + (t.steps_of_masks > 1 ? step : 0)) * plane);
    s.sum_r = advanced(t.sum_r, solve * plane);
    s.d_maps = advanced(t.d_maps, solve * t.maps * plane);
    return s;
}

// ---- decisions: a byte of base-3 digits ----

TVMAP_HOST_DEVICE constexpr int digit_weight(int component) {
    return component == 0 ? 1 : 3 * digit_weight(component - 1);
}

/// A component's digit, −1, 0 or 1.
template <int component>
TVMAP_HOST_DEVICE inline int digit(unsigned code) {
    for (int c = 0; c < component; ++c) code = code * 171u >> 9;  // code / 3, for a byte
    return int(code - 3 * (code * 171u >> 9)) - 1;
}

// ---- start ----

template <Regulariser r, int component>
TVMAP_HOST_DEVICE inline void start_component(const Task& t, const Solve& s, const Links& at,
                                              std::ptrdiff_t here) {
    if (!t.start_from_state || !exists<r, component>(at)) s.q[component * s.plane + here] = 0.0f;
}

template <Regulariser r>
TVMAP_HOST_DEVICE inline void start_pixel(const Task& t, const Solve& s, const Links& at,
                                          std::ptrdiff_t here) {
    if (!t.start_from_state) {
        for (int field = 0; field < primal_planes(r); ++field) {
            const float value = field == 0 ? s.first[here] : 0.0f;
            s.u[field * s.plane + here] = value;
            s.u_bar[field * s.plane + here] = value;
        }
        s.r[here] = 0.0f;
    }
    start_component<r, 0>(t, s, at, here);
    start_component<r, 1>(t, s, at, here);
    if constexpr (components(r) > 2) {
        start_component<r, 2>(t, s, at, here);
        start_component<r, 3>(t, s, at, here);
    }
    if constexpr (components(r) > 4) start_component<r, 4>(t, s, at, here);
    if (t.adjoint) {
        if (t.clear_sum) s.sum_r[here] = 0.0f;
        for (int map = 0; map < t.maps; ++map) s.d_maps[map * s.plane + here] = 0.0f;
    }
}

// ---- dual ----

/// min(max(v, −Λ), Λ). Of equal values the second: Λ = 0 gives +0, as in kernels/solver/pdhg_sweep.cpp.
TVMAP_HOST_DEVICE inline float clip(float v, float lambda) {
    const float raised = v > -lambda ? v : -lambda;
    return raised < lambda ? raised : lambda;
}

template <Regulariser r, MapKind kind>
TVMAP_HOST_DEVICE constexpr int map_number(int component) {
    return kind == MapKind::separate ? component : shared_map(r, component);
}

/// One component of q; returns its digit's part in the mask.
template <Regulariser r, MapKind kind, int component, bool inside>
TVMAP_HOST_DEVICE inline int dual_component(float a, const Solve& s, const Links& at, std::ptrdiff_t here) {
    constexpr int map = map_number<r, kind>(component);
    float& q = s.q[component * s.plane + here];
    const float v = q + a * difference<r, component, inside>(s.u_bar + here, s.plane, at);
    const float lambda = s.lambda[kind == MapKind::scalar ? map : map * s.plane + here];
    q = clip(v, lambda);
    return (1 + int(v > lambda) - int(v < -lambda)) * digit_weight(component);
}

TVMAP_HOST_DEVICE inline void dual_image_pixel(float a, float scale, const Solve& s, std::ptrdiff_t here) {
    s.r[here] = (s.r[here] + a * (s.n[here] - s.image[here])) * scale;
}

/// The same for DataTerm::huber; returns its digit's part in the mask.
template <Regulariser r>
TVMAP_HOST_DEVICE inline int huber_image_pixel(float a, float scale, const Solve& s, std::ptrdiff_t here) {
    const float v = (s.r[here] + a * (s.n[here] - s.image[here])) * scale;
    s.r[here] = clip(v, 1.0f);
    return (1 + int(v > 1.0f) - int(v < -1.0f)) * digit_weight(components(r));
}

template <Regulariser r, MapKind kind, bool masks, bool inside>
TVMAP_HOST_DEVICE inline void dual_pixel(float a, float scale, bool huber, const Solve& s, const Links& at,
                                         std::ptrdiff_t here) {
    int code = 0;
    if (r != Regulariser::tgv && huber)
        code = huber_image_pixel<r>(a, scale, s, here);
    else
        dual_image_pixel(a, scale, s, here);
    code += dual_component<r, kind, 0, inside>(a, s, at, here);
    code += dual_component<r, kind, 1, inside>(a, s, at, here);
    if constexpr (components(r) > 2) {
        code += dual_component<r, kind, 2, inside>(a, s, at, here);
        code += dual_component<r, kind, 3, inside>(a, s, at, here);
    }
    if constexpr (components(r) > 4) code += dual_component<r, kind, 4, inside>(a, s, at, here);
    if constexpr (masks) s.masks[here] = std::uint8_t(code);
}

template <Regulariser r, MapKind kind, int component, bool inside>
TVMAP_HOST_DEVICE inline void adjoint_component(float a, const Solve& s, const Links& at, std::ptrdiff_t here,
                                                int e) {
    float& q = s.q[component * s.plane + here];
    float& d_lambda = s.d_maps[map_number<r, kind>(component) * s.plane + here];
    const float v = q + a * difference<r, component, inside>(s.u_bar + here, s.plane, at);
    const float counted = float(multiplicity(r, component)) * v;
    d_lambda = d_lambda - float(e) * counted;
    q = e == 0 ? v : 0.0f;
}

TVMAP_HOST_DEVICE inline void adjoint_dual_image_pixel(float a, float scale, const Solve& s,
                                                       std::ptrdiff_t here) {
    const float dual = (s.r[here] + a * s.u_bar[here]) * scale;
    s.r[here] = dual;
    s.sum_r[here] = s.sum_r[here] + dual;
}

/// The same for DataTerm::huber, where e was decided.
TVMAP_HOST_DEVICE inline void adjoint_huber_image_pixel(float a, float scale, const Solve& s,
                                                        std::ptrdiff_t here, int e) {
    const float v = (s.r[here] + a * s.u_bar[here]) * scale;
    const float dual = e == 0 ? v : 0.0f;
    s.r[here] = dual;
    s.sum_r[here] = s.sum_r[here] + dual;
}

template <Regulariser r, MapKind kind, bool inside>
TVMAP_HOST_DEVICE inline void adjoint_dual_pixel(float a, float scale, bool huber, const Solve& s,
                                                 const Links& at, std::ptrdiff_t here) {
    const unsigned code = s.masks[here];
    if (r != Regulariser::tgv && huber)
        adjoint_huber_image_pixel(a, scale, s, here, digit<components(r)>(code));
    else
        adjoint_dual_image_pixel(a, scale, s, here);
    adjoint_component<r, kind, 0, inside>(a, s, at, here, digit<0>(code));
    adjoint_component<r, kind, 1, inside>(a, s, at, here, digit<1>(code));
    if constexpr (components(r) > 2) {
        adjoint_component<r, kind, 2, inside>(a, s, at, here, digit<2>(code));
        adjoint_component<r, kind, 3, inside>(a, s, at, here, digit<3>(code));
    }
    if constexpr (components(r) > 4) adjoint_component<r, kind, 4, inside>(a, s, at, here, digit<4>(code));
}

// ---- primal ----

template <Regulariser r, int field, bool inside>
TVMAP_HOST_DEVICE inline void primal_field(float b, float theta, const float* dual, const Solve& s,
                                           const Links& at, std::ptrdiff_t here) {
    float pull = adjoint_difference<r, field, inside>(s.q + here, s.plane, at);
    if constexpr (field == 0) pull = dual[here] + pull;
    float& u = s.u[field * s.plane + here];
    const float old = u, next = old - b * pull;
    u = next;
    s.u_bar[field * s.plane + here] = next + theta * (next - old);
}

/// dual: r; adjoint: N R̃.
template <Regulariser r, bool inside>
TVMAP_HOST_DEVICE inline void primal_pixel(float b, float theta, const float* dual, const Solve& s,
                                           const Links& at, std::ptrdiff_t here) {
    primal_field<r, 0, inside>(b, theta, dual, s, at, here);
    if constexpr (primal_planes(r) > 1) {
        primal_field<r, 1, inside>(b, theta, dual, s, at, here);
        primal_field<r, 2, inside>(b, theta, dual, s, at, here);
    }
}

// ---- finish ----

TVMAP_HOST_DEVICE inline void store(bool accumulate, float value, float* target, std::int64_t at) {
    if (target != nullptr) target[at] = accumulate ? target[at] + value : value;
}

/// d_lambda of a scalar map is left to a sum over d_maps.
TVMAP_HOST_DEVICE inline void finish_pixel(const Task& t, const Solve& s, int solve, std::ptrdiff_t here) {
    const std::int64_t at = solve * t.pixels() + here;
    if (!t.adjoint) {
        t.x[at] = s.u[here];
        return;
    }
    if (!t.scalar_map) {
        for (int map = 0; map < t.maps; ++map)
            store(t.accumulate, s.d_maps[map * s.plane + here], t.out.d_lambda,
                  (std::int64_t(solve) * t.maps + map) * t.pixels() + here);
    }
    const float sum = t.sigma * s.sum_r[here];
    store(t.accumulate, t.first_in_b ? s.u[here] + sum : sum, t.out.d_b, at);
    if (t.first_in_start) store(t.accumulate, s.u[here], t.out.d_start, at);
}

// ---- host ----

/// The workspace, cut up, each part aligned: the iterates, N's plane, ΣR̃, d_Λ, and the sums of its rows.
struct Workspace {
    explicit Workspace(const SolverProblem& problem, void* memory = nullptr);

    PdhgState state;
    float *gram_plane = nullptr, *sum_r = nullptr, *d_maps = nullptr;
    double* row_sums = nullptr;
    std::size_t bytes = 0;
};

/// Checks a call's arguments, and gives its task. where: the call's name, for messages.
Task forward_task(const char* where, const SolverProblem& problem, int iterations, const SolverInput& input,
                  const PdhgOutput& output, const PdhgWorkspace& workspace);
Task adjoint_task(const char* where, const SolverProblem& problem, int iterations, const float* gram,
                  const PdhgAdjoint& adjoint, const SolverDerivatives& derivatives,
                  const PdhgWorkspace& workspace);

/// Calls body(std::integral_constant<Regulariser, …>()).
template <class Body>
void for_regulariser(Regulariser r, const Body& body) {
    switch (r) {
        case Regulariser::tv:
            return body(std::integral_constant<Regulariser, Regulariser::tv>());
        case Regulariser::tv8:
            return body(std::integral_constant<Regulariser, Regulariser::tv8>());
        case Regulariser::tgv:
            return body(std::integral_constant<Regulariser, Regulariser::tgv>());
    }
}

/// Calls body(std::integral_constant<MapKind, …>()).
template <class Body>
void for_map(MapKind kind, const Body& body) {
    switch (kind) {
        case MapKind::scalar:
            return body(std::integral_constant<MapKind, MapKind::scalar>());
        case MapKind::shared:
            return body(std::integral_constant<MapKind, MapKind::shared>());
        case MapKind::separate:
            return body(std::integral_constant<MapKind, MapKind::separate>());
    }
}

}  // namespace tvmap::family
