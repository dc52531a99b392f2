// Winograd's minimal filtering for 3×3 convolutions in tiles of 4×4 (A. Lavin and S. Gray, "Fast algorithms for
// convolutional neural networks", CVPR 2016), along one line of vectors and for products of small matrices.
// Compiled for every instruction set: a file that Highway compiles per target includes this after highway.h.
//
// A tile has 6 numbers along a line, one for each point of interpolation 0, p, −p, q, −q, ∞. With
// N(r) = Π_{s≠r} (r − s) over the finite points, so N(0) = p²q², N(±p) = 2p²(p² − q²), N(±q) = 2q²(q² − p²):
//     4 results from 6 inputs and 3 weights      y = Aᵀ(Gg ⊙ Bᵀx)
//     3 results from 6 inputs and 4 gradients    d_g = A₃ᵀ(G₄d ⊙ Bᵀx)
//     row r of Bᵀ: the coefficients of Π_{s≠r} (t − s), of ∞: of Π (t − s)
//     row r of G: 1, r, r² over N(r), of ∞: 0, 0, 1               column r of Aᵀ: 1, r, r², r³, of ∞: 0, 0, 0, 1
// G₄ and A₃ are the transposes of Aᵀ and G, as they are of one bilinear form.
#if defined(TVMAP_KERNELS_WINOGRAD_LINES_H) == defined(HWY_TARGET_TOGGLE)  // once for each target
#ifdef TVMAP_KERNELS_WINOGRAD_LINES_H
#undef TVMAP_KERNELS_WINOGRAD_LINES_H
#else
#define TVMAP_KERNELS_WINOGRAD_LINES_H
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/highway.h>

#ifndef TVMAP_WP
#define TVMAP_WP 0.625f
#define TVMAP_WQ 1.5f
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

namespace point {
constexpr float p = TVMAP_WP, q = TVMAP_WQ;
constexpr float p2 = p * p, q2 = q * q, p3 = p2 * p, q3 = q2 * q;
constexpr float n0 = 1 / (p2 * q2), np = 1 / (2 * p2 * (p2 - q2)), nq = 1 / (2 * q2 * (q2 - p2));
}  // namespace point

/// v = Bᵀx.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void input_line(D d, const V (&x)[6], V (&v)[6]) {
    using namespace point;
    const V p_ = hn::Set(d, p), q_ = hn::Set(d, q), pp = hn::Set(d, p2), qq = hn::Set(d, q2);
    const V sum = hn::Set(d, p2 + q2), product = hn::Set(d, p2 * q2);
    const V even_p = hn::NegMulAdd(qq, x[2], x[4]), odd_p = hn::NegMulAdd(qq, x[1], x[3]);
    const V even_q = hn::NegMulAdd(pp, x[2], x[4]), odd_q = hn::NegMulAdd(pp, x[1], x[3]);
    v[0] = hn::MulAdd(product, x[0], hn::NegMulAdd(sum, x[2], x[4]));
    v[1] = hn::MulAdd(p_, odd_p, even_p);
    v[2] = hn::NegMulAdd(p_, odd_p, even_p);
    v[3] = hn::MulAdd(q_, odd_q, even_q);
    v[4] = hn::NegMulAdd(q_, odd_q, even_q);
    v[5] = hn::MulAdd(product, x[1], hn::NegMulAdd(sum, x[3], x[5]));
}

/// u = Gg.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void weight_line(D d, const V (&g)[3], V (&u)[6]) {
    using namespace point;
    const V even_p = hn::MulAdd(hn::Set(d, p2 * np), g[2], hn::Mul(hn::Set(d, np), g[0]));
    const V even_q = hn::MulAdd(hn::Set(d, q2 * nq), g[2], hn::Mul(hn::Set(d, nq), g[0]));
    const V odd_p = hn::Set(d, p * np), odd_q = hn::Set(d, q * nq);
    u[0] = hn::Mul(hn::Set(d, n0), g[0]);
    u[1] = hn::MulAdd(odd_p, g[1], even_p);
    u[2] = hn::NegMulAdd(odd_p, g[1], even_p);
    u[3] = hn::MulAdd(odd_q, g[1], even_q);
    u[4] = hn::NegMulAdd(odd_q, g[1], even_q);
    u[5] = g[2];
}

/// y = Aᵀm.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void output_line(D d, const V (&m)[6], V (&y)[4]) {
    using namespace point;
    const V sum_p = hn::Add(m[1], m[2]), difference_p = hn::Sub(m[1], m[2]);
    const V sum_q = hn::Add(m[3], m[4]), difference_q = hn::Sub(m[3], m[4]);
    y[0] = hn::Add(m[0], hn::Add(sum_p, sum_q));
    y[1] = hn::MulAdd(hn::Set(d, q), difference_q, hn::Mul(hn::Set(d, p), difference_p));
    y[2] = hn::MulAdd(hn::Set(d, q2), sum_q, hn::Mul(hn::Set(d, p2), sum_p));
    y[3] = hn::MulAdd(hn::Set(d, q3), difference_q, hn::MulAdd(hn::Set(d, p3), difference_p, m[5]));
}

/// w = G₄g, but for the factors 1/N, which weight_gradient_line() makes up for.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void gradient_line(D d, const V (&g)[4], V (&w)[6]) {
    using namespace point;
    const V even_p = hn::MulAdd(hn::Set(d, p2), g[2], g[0]), even_q = hn::MulAdd(hn::Set(d, q2), g[2], g[0]);
    const V odd_p = hn::MulAdd(hn::Set(d, p2), g[3], g[1]), odd_q = hn::MulAdd(hn::Set(d, q2), g[3], g[1]);
    w[0] = g[0];
    w[1] = hn::MulAdd(hn::Set(d, p), odd_p, even_p);
    w[2] = hn::NegMulAdd(hn::Set(d, p), odd_p, even_p);
    w[3] = hn::MulAdd(hn::Set(d, q), odd_q, even_q);
    w[4] = hn::NegMulAdd(hn::Set(d, q), odd_q, even_q);
    w[5] = g[3];
}

/// d_g = A₃ᵀs with the factors 1/N.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void weight_gradient_line(D d, const V (&s)[6], V (&g)[3]) {
    using namespace point;
    const V sum_p = hn::Add(s[1], s[2]), sum_q = hn::Add(s[3], s[4]);
    const V first = hn::MulAdd(hn::Set(d, np), sum_p, hn::Mul(hn::Set(d, n0), s[0]));
    g[0] = hn::MulAdd(hn::Set(d, nq), sum_q, first);
    g[1] = hn::MulAdd(hn::Set(d, q * nq), hn::Sub(s[3], s[4]),
                      hn::Mul(hn::Set(d, p * np), hn::Sub(s[1], s[2])));
    g[2] = hn::MulAdd(hn::Set(d, q2 * nq), sum_q, hn::MulAdd(hn::Set(d, p2 * np), sum_p, s[5]));
}

/// Vectors of neighbouring columns that a product of matrices holds in registers, and rows: products need
/// rows·vectors + vectors + 1 of them.
template <class D>
constexpr int panel_vectors() {
    return hn::MaxLanes(D()) >= 8 ? 2 : 16 / int(hn::MaxLanes(D()));
}
template <class D>
constexpr int panel_rows() {
    return hn::MaxLanes(D()) == 16 ? 12 : 6;
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
