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
#if defined(TVMAP_KERNELS_WINOGRAD_TRANSFORMS_H) == defined(HWY_TARGET_TOGGLE)  // once for each target
#ifdef TVMAP_KERNELS_WINOGRAD_TRANSFORMS_H
#undef TVMAP_KERNELS_WINOGRAD_TRANSFORMS_H
#else
#define TVMAP_KERNELS_WINOGRAD_TRANSFORMS_H
#endif

#include <algorithm>
#include <cstdint>

#include <hwy/highway.h>

#include "kernels/base/simd_loops.h"
#include "kernels/winograd/winograd_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

namespace point {
// Of the pairs with few binary digits these leave the smallest error: 5.6e-7 over 32 channels, where 1/2 and 3/2 leave
// 7.1e-7, and 1 and 2 1.4e-6.
constexpr float p = 0.625f, q = 1.5f;
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
    g[1] =
        hn::MulAdd(hn::Set(d, q * nq), hn::Sub(s[3], s[4]), hn::Mul(hn::Set(d, p * np), hn::Sub(s[1], s[2])));
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

/// The transpose of a square of vectors.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void transpose([[maybe_unused]] D d, [[maybe_unused]] V (&rows)[hn::MaxLanes(D())]) {
#if HWY_TARGET != HWY_SCALAR
    constexpr int lanes = int(hn::MaxLanes(d));
    // Blocks of 128 bits change places, those of a larger distance first.
    if constexpr (lanes == 16) {
        for (int i = 0; i < 8; ++i) {
            const V lower = hn::ConcatLowerLower(d, rows[i + 8], rows[i]);
            rows[i + 8] = hn::ConcatUpperUpper(d, rows[i + 8], rows[i]);
            rows[i] = lower;
        }
        for (int k = 0; k < 16; k += 8)
            for (int i = k; i < k + 4; ++i) {
                const V even = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(rows[i + 4]), rows[i]);
                rows[i + 4] = hn::OddEvenBlocks(rows[i + 4], hn::SwapAdjacentBlocks(rows[i]));
                rows[i] = even;
            }
    } else if constexpr (lanes == 8) {
        for (int i = 0; i < 4; ++i) {
            const V lower = hn::ConcatLowerLower(d, rows[i + 4], rows[i]);
            rows[i + 4] = hn::ConcatUpperUpper(d, rows[i + 4], rows[i]);
            rows[i] = lower;
        }
    }
    for (int k = 0; k < lanes; k += 4) {
        const V low_02 = hn::InterleaveLower(d, rows[k], rows[k + 2]);
        const V high_02 = hn::InterleaveUpper(d, rows[k], rows[k + 2]);
        const V low_13 = hn::InterleaveLower(d, rows[k + 1], rows[k + 3]);
        const V high_13 = hn::InterleaveUpper(d, rows[k + 1], rows[k + 3]);
        rows[k] = hn::InterleaveLower(d, low_02, low_13);
        rows[k + 1] = hn::InterleaveUpper(d, low_02, low_13);
        rows[k + 2] = hn::InterleaveLower(d, high_02, high_13);
        rows[k + 3] = hn::InterleaveUpper(d, high_02, high_13);
    }
#endif
}

/// Goes through stretches, of at most `most` tiles of a row, that make up the tiles [first, first + count).
class Stretches {
  public:
    Stretches(const Features& f, std::int64_t first, int count, int most)
        : tiling_(f), first_(first), count_(count), most_(most) {}

    bool next() {
        t += length;
        if (t >= count_) return false;
        const std::int64_t index = first_ + t, line = index / tiling_.columns;
        column = int(index % tiling_.columns);
        row = int(line % tiling_.rows);
        image = int(line / tiling_.rows);
        length = std::min({count_ - t, tiling_.columns - column, most_});
        return true;
    }

    int image = 0, row = 0, column = 0, length = 0;  ///< of the tiles now
    int t = 0;                                       ///< of the first of them, counted from `first`

  private:
    winograd::Tiling tiling_;
    std::int64_t first_;
    int count_, most_;
};

constexpr int stretch = 8;  // tiles whose columns are transformed together

// Columns [left, left + count) of the six rows from `top` on, transformed along them: [count][6][L].
template <bool inside, class D, class Number>
HWY_INLINE void transform_columns(D d, const Number* plane, const Features& f, int top, int left, int count,
                                  float* to) {
    constexpr int lanes = int(hn::MaxLanes(d));
    const auto clear = [&](int from, int end) HWY_ATTR {
        for (int k = from * 6; k < end * 6; ++k) hn::Store(hn::Zero(d), d, to + k * lanes);
    };
    const int first = std::max(0, -left), end = std::max(first, std::min(count, f.w - left));
    clear(0, first);
    const std::int64_t row_floats = std::int64_t(f.w) * f.block;
    const Number* from = plane + top * row_floats + std::int64_t(left + first) * f.block;
    for (int j = first; j < end; ++j, from += f.block) {
        hn::Vec<D> x[6], v[6];
        for (int i = 0; i < 6; ++i) {
            x[i] = inside || (top + i >= 0 && top + i < f.h) ? load(d, from + i * row_floats) : hn::Zero(d);
        }
        input_line(d, x, v);
        for (int i = 0; i < 6; ++i) hn::Store(v[i], d, to + (j * 6 + i) * lanes);
    }
    clear(end, count);
}

/// The channels [from, to) of tiles, of which the first is v's first.
template <class D, class Number>
HWY_INLINE void transform_tiles(D d, const FeatureView<const Number>& x, std::int64_t first, int count,
                                int from, int to, const winograd::TransformedTiles& v) {
    constexpr int lanes = int(hn::MaxLanes(d));
    alignas(64) float columns[(4 * stretch + 2) * 6 * lanes];
    const Features f = x.shape;
    // Copies, so that no store of a vector may change them.
    float* const data = v.data;
    const std::int64_t vector = v.vector, point = v.point;
    const std::int64_t plane_floats = std::int64_t(f.h) * f.w * f.block;
    // Channels outside, so that memory is read along its rows.
    for (int c = from; c < to; c += lanes) {
        for (Stretches tiles(f, first, count, stretch); tiles.next();) {
            const Number* plane = x.image(tiles.image) + c / f.block * plane_floats + c % f.block;
            const int top = 4 * tiles.row - 1, left = 4 * tiles.column - 1, wide = 4 * tiles.length + 2;
            if (top >= 0 && top + 6 <= f.h) {
                transform_columns<true>(d, plane, f, top, left, wide, columns);
            } else {
                transform_columns<false>(d, plane, f, top, left, wide, columns);
            }
            for (int s = 0; s < tiles.length; ++s) {
                float* place = data + c / lanes * vector + (tiles.t + s) * lanes;
                for (int i = 0; i < 6; ++i) {
                    hn::Vec<D> line[6], w[6];
                    for (int j = 0; j < 6; ++j)
                        line[j] = hn::Load(d, columns + ((4 * s + j) * 6 + i) * lanes);
                    input_line(d, line, w);
                    for (int j = 0; j < 6; ++j, place += point) hn::Store(w[j], d, place);
                }
            }
        }
    }
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
