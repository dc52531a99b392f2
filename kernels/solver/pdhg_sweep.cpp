// The iteration of the total-variation solver and of its adjoint; kernels/solver/pdhg_sweep.h has memory and order.
// One templated step serves both. Per pixel, with x̄ from right and below and the new q from left and above,
//     dual      p ← (p + a·(x̄ − z))·s        v = q + a·∇x̄        q ← clip(v, −Λ, Λ), decisions e recorded
//     primal    x₊ = x − b·(p + ∇ᵀq)         x̄ ← x₊ + θ(x₊ − x)
// forward: a = σ, b = τ; s = 1/(1+σ) in both. Adjoint (derivation): reversing the steps of pdhg.h gives, for
// the gradients X, X̄, P, Q of x, x̄, p, q,
//     g = X + (1+θ)X̄     P ← (P − τg)/(1+σ)     Q′ = Q − τ∇g     d_Λ += e·Q′     Q ← Q′ where e = 0, else 0
//     X ← X + X̄          X̄ ← σ(P + ∇ᵀQ)         d_z −= σP
// which in Y = X + X̄, Ȳ = g, P̃ = −P, Q̃ = −Q is the step above with a = τ, b = σ, without z, and with e known:
//     P̃ ← (P̃ + τȲ)·s     Q̃′ = Q̃ + τ∇Ȳ     d_Λ −= e·Q̃′     Q̃ ← Q̃′ where e = 0, else 0     Y₊ = Y − σ(P̃ + ∇ᵀQ̃)
// started from Y = Ȳ = ∂loss/∂x_T; at the end d_z = Y + σΣP̃ (− P̃ where p₀ = z).
//
// Multiplications and additions are never fused, so that every instruction set rounds alike, those too that cannot fuse
// them. It costs 5 to 10 % (two cores of a Xeon with AVX-512): the sweep is bound by the second-level cache as well.
#include "kernels/solver/pdhg_sweep.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <thread>

#include "kernels/base/simd.h"
#include "kernels/base/subnormal_numbers.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/solver/pdhg_sweep.cpp"
#include <hwy/foreach_target.h>  // before highway.h

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#ifndef TVMAP_KERNELS_PDHG_SWEEP_ONCE
#define TVMAP_KERNELS_PDHG_SWEEP_ONCE
namespace tvmap::cpu {
/// Bit i of i = 0 … 31.
alignas(64) inline constexpr auto decision_bits = [] {
    std::array<std::uint32_t, 32> bits{};
    for (std::uint32_t i = 0; i < 32; ++i) bits[i] = 1u << i;
    return bits;
}();

/// Spins until a neighbour's counter reaches `value`; gives the core away when that takes long, since the
/// neighbour may be waiting for it.
inline void wait_for(const std::atomic<int>& counter, int value) {
    for (int spins = 0; counter.load(std::memory_order_acquire) < value; ++spins) {
        if (spins < 2000) {
            hwy::Pause();
        } else {
            std::this_thread::yield();
        }
    }
}
}  // namespace tvmap::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, pdhg_group>;
using V = hn::Vec<D>;
using M = hn::Mask<D>;
constexpr D d;
constexpr int lanes = int(hn::MaxLanes(D()));

// Lanes one place to the right: the last of `before`, then all but the last of v.
HWY_INLINE V shift_in_before(V before, V v) {
#if HWY_TARGET == HWY_SCALAR
    (void)v;
    return before;
#elif HWY_ARCH_X86 && HWY_MAX_BYTES == 64
    return V{_mm512_castsi512_ps(
        _mm512_alignr_epi32(_mm512_castps_si512(v.raw), _mm512_castps_si512(before.raw), 15))};
#elif HWY_ARCH_X86 && HWY_MAX_BYTES == 32
    return hn::CombineShiftRightBytes<12>(d, v, hn::ConcatLowerUpper(d, v, before));
#else
    static_assert(lanes == 4);  // the shift stays within blocks of 16 bytes
    return hn::CombineShiftRightBytes<12>(d, v, before);
#endif
}

// Decisions of one component for a vector: lane v of the 16 bits that the group has.
struct Decision {
    M above, below;
};
// Highway may touch 8 bytes, whatever the mask's length, so bits come and go through as many of our own.
HWY_INLINE void store_bits(M mask, std::uint8_t* bytes, int lane) {
    std::uint8_t bits[8] = {};
    hn::StoreMaskBits(d, mask, bits);
    if constexpr (lanes >= 8) {
        std::memcpy(bytes + lane / 8, bits, lanes / 8);
    } else {  // several vectors share a byte
        const int kept = lane % 8 == 0 ? 0 : bytes[lane / 8];
        bytes[lane / 8] = std::uint8_t(kept | bits[0] << lane % 8);
    }
}
// Both decisions at once, the 16 bits of one behind those of the other.
HWY_INLINE Decision load_decision(const std::uint8_t* bytes, int lane) {
#if HWY_MAX_BYTES == 64
    const auto load = [](const std::uint8_t* two) {
        std::uint8_t bits[8] = {};
        std::memcpy(bits, two, 2);
        return hn::LoadMaskBits(d, bits);
    };
    (void)lane;
    return {load(bytes), load(bytes + 2)};
#else  // the four bytes in every lane, by one instruction, and there the lane's bit of either
    static_assert(std::endian::native == std::endian::little);
    constexpr hn::RebindToUnsigned<D> du;
    std::uint32_t word;
    std::memcpy(&word, bytes, 4);
    const auto words = hn::Set(du, word);
    const auto above = hn::Load(du, decision_bits.data() + lane),
               below = hn::Load(du, decision_bits.data() + 16 + lane);
    return {hn::RebindMask(d, hn::TestBit(words, above)), hn::RebindMask(d, hn::TestBit(words, below))};
#endif
}

template <bool writes_masks, int map_count>
struct Forward {
    static constexpr bool adjoint = false, masks = writes_masks, sum_p = false;
    static constexpr int maps = map_count;
};
template <bool sums_p, int map_count>
struct Adjoint {
    static constexpr bool adjoint = true, masks = true, sum_p = sums_p;
    static constexpr int maps = map_count;
};

struct Coefficients {
    float dual, primal, scale, theta, lambda;
};

// What a step on one row touches.
struct RowPointers {
    const float* above;  // q_vertical of the record above
    float* record;
    const float* below;  // x_bar of the record below
    std::uint8_t* masks;
};

// min(max(v, −Λ), Λ). Of equal values, and where either is NaN, the second, on every processor and on a GPU: so Λ = 0
// gives +0, and a Λ that is NaN shows.
HWY_INLINE V clip(V v, V lambda) {
    const V lower = hn::Neg(lambda);
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR  // whose instructions choose so
    return hn::Min(hn::Max(v, lower), lambda);
#else
    const V raised = hn::IfThenElse(hn::Gt(v, lower), v, lower);
    return hn::IfThenElse(hn::Lt(raised, lambda), raised, lambda);
#endif
}

// v → q, by the clip (forward) or by the known decision (adjoint, where d_lambda takes its share).
template <class Step>
HWY_INLINE V resolve(V v, V lambda, std::uint8_t* masks, int lane, V& d_lambda) {
    if constexpr (Step::adjoint) {
        const auto [above, below] = load_decision(masks, lane);
        d_lambda = hn::Sub(d_lambda, hn::IfThenElseZero(above, v));
        d_lambda = hn::Add(d_lambda, hn::IfThenElseZero(below, v));
        return hn::IfThenZeroElse(hn::Or(above, below), v);
    } else {
        if constexpr (Step::masks) {
            store_bits(hn::Gt(v, lambda), masks, lane);
            store_bits(hn::Lt(v, hn::Neg(lambda)), masks + 2, lane);
        }
        return clip(v, lambda);
    }
}

// The new q_horizontal of the row's last pixel, left neighbour of its first, in every lane.
template <class Step>
HWY_INLINE V last_horizontal(const PdhgRecord& at, int width, const Coefficients& c, const RowPointers& row) {
    const int last = width - 1;
    const float* x_bar = row.record + at.x_bar;
    const V v =
        hn::Add(hn::Set(d, row.record[at.q_horizontal + last]),
                hn::Mul(hn::Set(d, c.dual), hn::Sub(hn::Set(d, x_bar[width]), hn::Set(d, x_bar[last]))));
    if constexpr (Step::adjoint) {
        const std::uint8_t* horizontal = row.masks + last / pdhg_group * pdhg_group_mask_bytes + 4;
        const int byte = last % pdhg_group / 8, bit = last % 8;
        return ((horizontal[byte] | horizontal[byte + 2]) >> bit & 1) ? hn::Zero(d) : v;
    } else {
        const std::ptrdiff_t map = Step::maps == 2 ? at.lambda_horizontal : at.lambda;
        const V lambda = hn::Set(d, Step::maps == 0 ? c.lambda : row.record[map + last]);
        return clip(v, lambda);
    }
}

// One step on one row: its dual half, its primal half, or both.
template <class Step, bool does_dual, bool does_primal>
HWY_INLINE void row_step(const PdhgRecord& at, Boundary boundary, int width, const Coefficients& c,
                         const RowPointers& row) {
    // None of them is promised to be alone: under Neumann the last row's x̄ is also the one below it, and the only row
    // of an image is its own neighbour.
    float* const x = row.record + at.x;
    float* const x_bar = row.record + at.x_bar;
    float* const p = row.record + at.p;
    float* const z = row.record + at.z;
    float* const q_vertical = row.record + at.q_vertical;
    float* const q_horizontal = row.record + at.q_horizontal;
    float* const map = row.record + at.lambda;
    float* const map_horizontal = row.record + at.lambda_horizontal;
    const V dual = hn::Set(d, c.dual), primal = hn::Set(d, c.primal), scale = hn::Set(d, c.scale),
            theta = hn::Set(d, c.theta);
    V lambda = hn::Set(d, c.lambda), lambda_horizontal = lambda;
    V before = hn::Zero(d);
    if constexpr (does_primal) {
        before = does_dual ? last_horizontal<Step>(at, width, c, row) : hn::Set(d, q_horizontal[width - 1]);
    }

    for (int group = 0; group < at.groups; ++group) {
        std::uint8_t* masks = Step::masks ? row.masks + group * pdhg_group_mask_bytes : nullptr;
        std::uint8_t* horizontal_masks = Step::masks ? masks + 4 : nullptr;
        for (int lane = 0; lane < pdhg_group; lane += lanes) {
            const int j = group * pdhg_group + lane;
            V new_p, new_vertical, new_horizontal;
            if constexpr (does_dual) {
                const V bar = hn::Load(d, x_bar + j);
                const V right = hn::LoadU(d, x_bar + j + 1), below = hn::Load(d, row.below + j);
                const V pull = Step::adjoint ? bar : hn::Sub(bar, hn::Load(d, z + j));
                new_p = hn::Mul(hn::Add(hn::Load(d, p + j), hn::Mul(dual, pull)), scale);
                hn::Store(new_p, d, p + j);
                if constexpr (Step::sum_p) hn::Store(hn::Add(hn::Load(d, z + j), new_p), d, z + j);

                if constexpr (Step::maps > 0) lambda = hn::Load(d, map + j);
                const V vertical = hn::Add(hn::Load(d, q_vertical + j), hn::Mul(dual, hn::Sub(below, bar)));
                new_vertical = resolve<Step>(vertical, lambda, masks, lane, lambda);
                hn::Store(new_vertical, d, q_vertical + j);

                if constexpr (Step::maps == 2) lambda_horizontal = hn::Load(d, map_horizontal + j);
                V& other = Step::maps == 2 ? lambda_horizontal : lambda;
                const V horizontal =
                    hn::Add(hn::Load(d, q_horizontal + j), hn::Mul(dual, hn::Sub(right, bar)));
                new_horizontal = resolve<Step>(horizontal, other, horizontal_masks, lane, other);
                hn::Store(new_horizontal, d, q_horizontal + j);
                if constexpr (Step::adjoint) hn::Store(lambda, d, map + j);
                if constexpr (Step::adjoint && Step::maps == 2) {
                    hn::Store(lambda_horizontal, d, map_horizontal + j);
                }
            } else {
                new_p = hn::Load(d, p + j);
                new_vertical = hn::Load(d, q_vertical + j);
                new_horizontal = hn::Load(d, q_horizontal + j);
            }
            if constexpr (does_primal) {
                const V left = shift_in_before(before, new_horizontal);
                before = new_horizontal;
                const V transposed =
                    hn::Add(hn::Sub(hn::Load(d, row.above + j), new_vertical), hn::Sub(left, new_horizontal));
                const V old = hn::Load(d, x + j);
                const V next = hn::Sub(old, hn::Mul(primal, hn::Add(new_p, transposed)));
                hn::Store(next, d, x + j);
                hn::Store(hn::Add(next, hn::Mul(theta, hn::Sub(next, old))), d, x_bar + j);
            }
        }
    }
    if constexpr (does_primal) pdhg_close_row(boundary, width, x_bar);
}

// The dual half, the primal half, or both, of step k on row i.
template <class Step, bool does_dual, bool does_primal>
HWY_INLINE void take_step(const PdhgBand& band, const Coefficients& c, int k, int i) {
    const PdhgProblem& problem = *band.problem;
    const PdhgRecord& at = band.record;
    const int above = i == 0 ? problem.height - 1 : i - 1;
    const int below = i + 1 < problem.height ? i + 1 : problem.boundary == Boundary::periodic ? 0 : i;
    RowPointers row;
    row.record = band.rows + i * at.floats;
    row.above = band.rows + above * at.floats + at.q_vertical;
    row.below = band.rows + below * at.floats + at.x_bar;
    row.masks = nullptr;
    if constexpr (Step::masks) {
        const std::size_t step = std::size_t(!Step::adjoint  ? k
                                             : band.one_mask ? 0
                                                             : band.iterations - 1 - k);
        row.masks = band.masks + (step * problem.height + i) * pdhg_mask_row_bytes(problem.width);
    }
    row_step<Step, does_dual, does_primal>(at, problem.boundary, problem.width, c, row);
}

template <class Step>
void sweep(const PdhgBand& band) {
    const PdhgProblem& problem = *band.problem;
    const Coefficients c{Step::adjoint ? problem.tau : problem.sigma,
                         Step::adjoint ? problem.sigma : problem.tau, 1.0f / (1.0f + problem.sigma),
                         problem.theta, band.lambda};
    const int height = problem.height, n = band.count;
    int first = band.first, bodies = 0;
    if (band.own != nullptr) wait_for(band.below->bodies, 0);
    for (int k = 0; k < band.iterations; k += band.depth) {
        const int depth = std::min(band.depth, band.iterations - k);
        const auto row = [=](int r) { return first + r < height ? first + r : (first + r) % height; };
        for (int t = 0; t < n; ++t) {
            for (int j = 0; j < depth && 2 * j < t; ++j)
                take_step<Step, true, true>(band, c, k + j, row(t - j));
            if (t % 2 == 0 && t / 2 < depth) take_step<Step, true, false>(band, c, k + t / 2, row(t / 2));
        }
        if (band.own != nullptr) {
            band.own->bodies.store(++bodies, std::memory_order_release);
            wait_for(band.below->bodies, bodies);
        }
        for (int t = 0; t < 2 * depth - 1; ++t) {
            if (t % 2 == 0) take_step<Step, false, true>(band, c, k + t / 2, row(n + t / 2));
            for (int j = t / 2 + 1; j < depth; ++j)
                take_step<Step, true, true>(band, c, k + j, row(n + t - j));
        }
        first = (first + depth) % height;
    }
}

template <template <bool, int> class Step, bool option>
void sweep_maps(const PdhgBand& band) {
    switch (band.problem->map) {
        case MapKind::scalar:
            return sweep<Step<option, Step<option, 0>::adjoint ? 1 : 0>>(band);
        case MapKind::shared:
            return sweep<Step<option, 1>>(band);
        case MapKind::separate:
            return sweep<Step<option, 2>>(band);
    }
}

void forward(const PdhgBand& band) {
    band.masks != nullptr ? sweep_maps<Forward, true>(band) : sweep_maps<Forward, false>(band);
}
void adjoint(const PdhgBand& band) {
    band.sum_p ? sweep_maps<Adjoint, true>(band) : sweep_maps<Adjoint, false>(band);
}

}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {

HWY_EXPORT(forward);
HWY_EXPORT(adjoint);

void pdhg_sweep_forward(const PdhgBand& band) {
    const SubnormalsAreZero now;
    HWY_DYNAMIC_DISPATCH(forward)(band);
}
void pdhg_sweep_adjoint(const PdhgBand& band) {
    const SubnormalsAreZero now;
    HWY_DYNAMIC_DISPATCH(adjoint)(band);
}

}  // namespace tvmap::cpu
#endif
