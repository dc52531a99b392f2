// The differences K of the solver's regularisers and their adjoint K*, said once for the CPU, the GPU and its emulation.
// With the fields u = (x), or (x, w_v, w_h) for tgv, ∂ the forward difference to the pixel below (v), to the right (h),
// below right (d) or below left (a), and w counted from its own pixel backwards, ∂′ = −∂ᵀ:
//     tv   K = (∂_v, ∂_h) x
//     tv8  K = (∂_v, ∂_h, ∂_d/√2, ∂_a/√2) x
//     tgv  K = (∂_v x − w_v, ∂_h x − w_h, E_vv, E_hh, E_vh),  E_vv = ∂′_v w_v,  E_hh = ∂′_h w_h,
//          E_vh = ½(∂′_h w_v + ∂′_v w_h)
// E is a symmetric matrix with E_vh in two places: that component counts twice (multiplicity), in the norm ‖Λ∘K u‖₁ and
// in the product that makes K* the adjoint of K,  ⟨K u, q⟩ = Σ_c multiplicity_c·⟨(K u)_c, q_c⟩ = ⟨u, K*q⟩.
// Neumann: a forward difference that would leave the image is 0, and ∂ᵀ is the transposed matrix of that. (tgv is that of
// arXiv 2502.16532; tv8 weighs as Cauchy and Crofton do.)
#pragma once
#include <cstddef>

#include "kernels/base/host_device.h"
#include "kernels/family/family.h"

namespace tvmap::family {

/// One direction from a pixel: how far away, in floats, its neighbours are, and whether they exist.
struct Link {
    std::ptrdiff_t next, previous;
    bool has_next, has_previous;
};

struct Links {
    Link v, h, d, a;
};

TVMAP_HOST_DEVICE inline Links links(int height, int width, bool periodic, int row, int column) {
    const std::ptrdiff_t down = row + 1 < height ? width : -std::ptrdiff_t(row) * width;
    const std::ptrdiff_t up = row > 0 ? -std::ptrdiff_t(width) : std::ptrdiff_t(height - 1) * width;
    const std::ptrdiff_t right = column + 1 < width ? 1 : -std::ptrdiff_t(column);
    const std::ptrdiff_t left = column > 0 ? -1 : std::ptrdiff_t(width) - 1;
    const bool below = periodic || row + 1 < height, above = periodic || row > 0;
    const bool after = periodic || column + 1 < width, before = periodic || column > 0;
    return {{down, up, below, above},
            {right, left, after, before},
            {down + right, up + left, below && after, above && before},
            {down + left, up + right, below && before, above && after}};
}

/// ∂f at a pixel, to which f points. inside: all neighbours exist, whatever the link says. T: what is computed in.
template <class T, bool inside>
TVMAP_HOST_DEVICE inline T forward(const float* f, Link at) {
    return inside || at.has_next ? T(f[at.next]) - T(f[0]) : T(0);
}

/// ∂ᵀf at a pixel.
template <class T, bool inside>
TVMAP_HOST_DEVICE inline T transposed(const float* f, Link at) {
    return (inside || at.has_previous ? T(f[at.previous]) : T(0)) - (inside || at.has_next ? T(f[0]) : T(0));
}

template <class T>
inline constexpr T diagonal_weight = T(0.70710678118654752440);

TVMAP_HOST_DEVICE constexpr int primal_planes(Regulariser r) { return r == Regulariser::tgv ? 3 : 1; }
TVMAP_HOST_DEVICE constexpr int components(Regulariser r) {
    return r == Regulariser::tv ? 2 : r == Regulariser::tv8 ? 4 : 5;
}
/// Of the component's value in ‖Λ∘K u‖₁ and in ⟨K u, q⟩.
TVMAP_HOST_DEVICE constexpr int multiplicity(Regulariser r, int component) {
    return r == Regulariser::tgv && component == 4 ? 2 : 1;
}
/// The map of a component where components share them: for tgv map 0 is Λ₁ and map 1 is Λ₀.
TVMAP_HOST_DEVICE constexpr int shared_map(Regulariser r, int component) {
    return r == Regulariser::tgv && component >= 2 ? 1 : 0;
}

/// (K u)_component at a pixel, to whose x u points; the fields of u are `plane` floats apart.
template <Regulariser r, int component, bool inside, class T = float>
TVMAP_HOST_DEVICE inline T difference(const float* u, std::ptrdiff_t plane, const Links& at) {
    if constexpr (r == Regulariser::tgv) {
        const float *w_v = u + plane, *w_h = u + 2 * plane;
        if constexpr (component == 0) {
            return forward<T, inside>(u, at.v) - T(w_v[0]);
        } else if constexpr (component == 1) {
            return forward<T, inside>(u, at.h) - T(w_h[0]);
        } else if constexpr (component == 2) {
            return -transposed<T, inside>(w_v, at.v);
        } else if constexpr (component == 3) {
            return -transposed<T, inside>(w_h, at.h);
        } else {
            return T(-0.5) * (transposed<T, inside>(w_v, at.h) + transposed<T, inside>(w_h, at.v));
        }
    } else if constexpr (component == 0) {
        return forward<T, inside>(u, at.v);
    } else if constexpr (component == 1) {
        return forward<T, inside>(u, at.h);
    } else if constexpr (component == 2) {
        return diagonal_weight<T> * forward<T, inside>(u, at.d);
    } else {
        return diagonal_weight<T> * forward<T, inside>(u, at.a);
    }
}

/// (K*q)_field at a pixel, to whose first component q points; the components are `plane` floats apart.
template <Regulariser r, int field, bool inside, class T = float>
TVMAP_HOST_DEVICE inline T adjoint_difference(const float* q, std::ptrdiff_t plane, const Links& at) {
    if constexpr (field == 0) {
        const T along = transposed<T, inside>(q, at.v) + transposed<T, inside>(q + plane, at.h);
        if constexpr (r == Regulariser::tv8) {
            return along + diagonal_weight<T> * (transposed<T, inside>(q + 2 * plane, at.d) +
                                                 transposed<T, inside>(q + 3 * plane, at.a));
        } else {
            return along;
        }
    } else if constexpr (field == 1) {
        const float *p_v = q, *q_vv = q + 2 * plane, *q_vh = q + 4 * plane;
        return -T(p_v[0]) - forward<T, inside>(q_vv, at.v) - forward<T, inside>(q_vh, at.h);
    } else {
        const float *p_h = q + plane, *q_hh = q + 3 * plane, *q_vh = q + 4 * plane;
        return -T(p_h[0]) - forward<T, inside>(q_hh, at.h) - forward<T, inside>(q_vh, at.v);
    }
}

/// At which ends of a row a horizontal neighbour that counts is missing, or elsewhere than beside its pixel.
struct Columns {
    bool first = false, last = false;
};

/// For (K u)_component.
TVMAP_HOST_DEVICE constexpr Columns difference_ends(Regulariser r, int component) {
    if (r == Regulariser::tgv) return {component >= 3, component == 1 || component >= 3};
    return {component == 3, component == 1 || component == 2};
}

/// For (K*q)_field.
TVMAP_HOST_DEVICE constexpr Columns adjoint_ends(int field) { return {field == 0, true}; }

/// Whether there is such a difference: where not, its dual is 0. (E has w alone in it, so it is everywhere.)
template <Regulariser r, int component>
TVMAP_HOST_DEVICE inline bool exists(const Links& at) {
    return r == Regulariser::tgv || (component == 0   ? at.v.has_next
                                     : component == 1 ? at.h.has_next
                                     : component == 2 ? at.d.has_next
                                                      : at.a.has_next);
}

}  // namespace tvmap::family
