// The formulas of kernels/training/philox.h on vectors. Every lane computes the normal number's centre and tail, the
// comparison chooses.
#include "kernels/training/random.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"
#include "kernels/training/philox.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/training/random.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

#ifndef TVMAP_KERNELS_RANDOM_ONCE
#define TVMAP_KERNELS_RANDOM_ONCE
namespace tvmap::cpu {

inline constexpr NormalPolynomials polynomials = normal_polynomials();

/// The place of one image's noise in the stream.
struct NoiseStream {
    std::uint64_t seed;
    std::uint32_t epoch, image;
    Purpose purpose = Purpose::noise;

    std::array<std::uint32_t, 4> block(std::int64_t index) const {
        return philox(seed, {std::uint32_t(index), image, epoch, std::uint32_t(purpose)});
    }
};

}  // namespace tvmap::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

// Highway's MulAdd rounds twice where the instruction set has no fused multiply-add; the promise is one
// rounding.
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128 || !HWY_NATIVE_FMA
template <class D>
hn::Vec<D> fused_multiply_add(D d, hn::Vec<D> a, hn::Vec<D> b, hn::Vec<D> c) {
    constexpr std::size_t lanes = hn::MaxLanes(D());
    HWY_ALIGN float x[lanes], y[lanes], z[lanes];
    hn::Store(a, d, x), hn::Store(b, d, y), hn::Store(c, d, z);
    for (std::size_t i = 0; i < lanes; ++i) z[i] = std::fma(x[i], y[i], z[i]);
    return hn::Load(d, z);
}
#else
template <class D>
HWY_INLINE hn::Vec<D> fused_multiply_add(D, hn::Vec<D> a, hn::Vec<D> b, hn::Vec<D> c) {
    return hn::MulAdd(a, b, c);
}
#endif

/// Horner's scheme, written out; coefficients with the lowest power first.
template <class D, std::size_t... power>
HWY_INLINE hn::Vec<D> horner(D d, const float* coefficients, hn::Vec<D> x, std::index_sequence<power...>) {
    constexpr std::size_t degree = sizeof...(power);
    hn::Vec<D> sum = hn::Set(d, coefficients[degree]);
    ((sum = fused_multiply_add(d, sum, x, hn::Set(d, coefficients[degree - 1 - power]))), ...);
    return sum;
}
template <class D, std::size_t count>
HWY_INLINE hn::Vec<D> polynomial(D d, const float (&coefficients)[count], hn::Vec<D> x) {
    return horner(d, coefficients, x, std::make_index_sequence<count - 1>());
}

template <class D, class Words>
HWY_INLINE hn::Vec<D> normal(D d, Words u) {
    const hn::RebindToSigned<D> di;
    const auto word = hn::BitCast(di, u);
    const auto a = hn::Xor(word, hn::ShiftRight<31>(word));
    const auto b = hn::Sub(hn::Set(di, 0x7fffffff), a);

    const auto y = fused_multiply_add(d, hn::ConvertTo(d, a), hn::Set(d, 0x1p-32f), hn::Set(d, 0x1p-33f));
    const auto near_centre = hn::Mul(y, polynomial(d, polynomials.centre, hn::Mul(y, y)));

    const auto odd = fused_multiply_add(d, hn::ConvertTo(d, b), hn::Set(d, 2.0f), hn::Set(d, 1.0f));
    const auto sqrt_half = hn::Set(di, 0x3f3504f3);  // the bits of √½
    const auto exponent = hn::ShiftRight<23>(hn::Sub(hn::BitCast(di, odd), sqrt_half));
    const auto mantissa = hn::BitCast(d, hn::Sub(hn::BitCast(di, odd), hn::ShiftLeft<23>(exponent)));
    const auto m = hn::Sub(mantissa, hn::Set(d, 1.0f));
    const auto log_m = hn::Mul(m, polynomial(d, polynomials.logarithm, m));
    const auto halvings = hn::ConvertTo(d, hn::Sub(hn::Set(di, 33), exponent));
    const auto minus_log_h = fused_multiply_add(d, halvings, hn::Set(d, 0.693147182f), hn::Neg(log_m));
    const auto t =
        fused_multiply_add(d, hn::Sqrt(minus_log_h), hn::Set(d, 0.609756098f), hn::Set(d, -1.92073171f));
    const auto near_end = polynomial(d, polynomials.tail, t);

    const auto magnitude = hn::IfThenElse(hn::Lt(y, hn::Set(d, 0.4f)), near_centre, near_end);
    return hn::Xor(magnitude, hn::BitCast(d, hn::And(word, hn::Set(di, INT32_MIN))));
}

void inverse_normal_span(const std::uint32_t* words, std::int64_t count, float* normals) {
    write_each(count, false, normals, [&](auto d, std::int64_t i) HWY_ATTR {
        return normal(d, hn::LoadU(hn::RebindToUnsigned<decltype(d)>(), words + i));
    });
}

/// noisy = clean + scale·n for one vector of words.
template <class D, class Words>
HWY_INLINE void add_scaled_normal(D d, Words words, const float* clean, hn::Vec<D> scale, float* noisy) {
    hn::StoreU(fused_multiply_add(d, scale, normal(d, words), hn::LoadU(d, clean)), d, noisy);
}

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

void noise_span(const NoiseStream& stream, std::int64_t begin, std::int64_t count, const float* clean,
                float scale, float* noisy) {
    const hn::CappedTag<float, 1> d;
    const hn::CappedTag<std::uint32_t, 1> du;
    std::array<std::uint32_t, 4> words{};
    for (std::int64_t i = 0; i < count; ++i) {
        if (i % 4 == 0) words = stream.block((begin + i) / 4);
        add_scaled_normal(d, hn::Set(du, words[i % 4]), clean + i, hn::Set(d, scale), noisy + i);
    }
}

#else

/// Philox on 64-bit lanes that hold one 32-bit counter word each: the product's high half is a shift away and
/// its low half already in place, and what lies above a word's 32 bits is never read. Even lanes take the
/// counters index, index + 1, …, odd lanes those that follow; then interleaving words 0, 1 with words 2, 3
/// leaves them in the order of the stream: `first` and `second` are the words of the blocks from `index` on.
template <class D64, class Words>
HWY_INLINE void philox_blocks(D64 d, const NoiseStream& stream, hn::Vec<D64> index, Words& first,
                              Words& second) {
    const hn::Repartition<std::uint32_t, D64> du;
    auto c0 = index;
    auto c1 = hn::Set(d, stream.image), c2 = hn::Set(d, stream.epoch),
         c3 = hn::Set(d, std::uint64_t(stream.purpose));
    std::uint32_t k0 = std::uint32_t(stream.seed), k1 = std::uint32_t(stream.seed >> 32);
    const auto m0 = hn::Set(du, philox_multiplier[0]), m1 = hn::Set(du, philox_multiplier[1]);
    for (int round = 0; round < philox_rounds; ++round) {
        const auto p0 = hn::MulEven(hn::BitCast(du, c0), m0), p1 = hn::MulEven(hn::BitCast(du, c2), m1);
        c0 = hn::Xor(hn::ShiftRight<32>(p1), hn::Xor(c1, hn::Set(d, k0)));
        c1 = p1;
        c2 = hn::Xor(hn::ShiftRight<32>(p0), hn::Xor(c3, hn::Set(d, k1)));
        c3 = p0;
        k0 += philox_weyl[0], k1 += philox_weyl[1];
    }
    const auto low = hn::Set(d, 0xffffffffu);
    const auto w01 = hn::Or(hn::And(c0, low), hn::ShiftLeft<32>(c1));
    const auto w23 = hn::Or(hn::And(c2, low), hn::ShiftLeft<32>(c3));
    first = hn::BitCast(du, hn::InterleaveLower(d, w01, w23));
    second = hn::BitCast(du, hn::InterleaveUpper(d, w01, w23));
}

void noise_span(const NoiseStream& stream, std::int64_t begin, std::int64_t count, const float* clean,
                float scale, float* noisy) {
    const hn::ScalableTag<std::uint64_t> d64;
    const hn::Repartition<std::uint32_t, decltype(d64)> du;
    const hn::RebindToFloat<decltype(du)> d;
    constexpr std::int64_t blocks = hn::MaxLanes(d64), step = 4 * blocks;

    HWY_ALIGN std::uint64_t places[blocks];
    for (std::int64_t lane = 0; lane < blocks; ++lane) places[lane] = lane / 2 + lane % 2 * (blocks / 2);
    const auto place = hn::Load(d64, places);
    const auto factor = hn::Set(d, scale);

    const auto add = [&](std::int64_t i, const float* from, float* to) HWY_ATTR {
        auto first = hn::Zero(du), second = hn::Zero(du);
        philox_blocks(d64, stream, hn::Add(hn::Set(d64, (begin + i) / 4), place), first, second);
        add_scaled_normal(d, first, from, factor, to);
        add_scaled_normal(d, second, from + step / 2, factor, to + step / 2);
    };
    std::int64_t i = 0;
    for (; i + step <= count; i += step) add(i, clean + i, noisy + i);
    if (i < count) {
        float rest[step] = {};
        std::copy(clean + i, clean + count, rest);
        add(i, rest, rest);
        std::copy(rest, rest + (count - i), noisy + i);
    }
}

#endif

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap {

std::array<std::uint32_t, 4> philox(std::uint64_t key, std::array<std::uint32_t, 4> c) {
    const PhiloxBlock block = philox_block(key, {{c[0], c[1], c[2], c[3]}});
    return {block.word[0], block.word[1], block.word[2], block.word[3]};
}

float uniform(std::uint64_t seed, Purpose purpose, std::uint32_t epoch, std::uint32_t item,
              std::uint32_t index) {
    return float(philox(seed, {index, item, epoch, std::uint32_t(purpose)})[0] >> 8) * 0x1p-24f;
}

namespace cpu {

HWY_EXPORT(inverse_normal_span);
HWY_EXPORT(noise_span);

void inverse_normal(const std::uint32_t* words, std::int64_t count, float* normals) {
    HWY_DYNAMIC_DISPATCH(inverse_normal_span)(words, count, normals);
}

void add_noise(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image, std::int64_t count,
               const float* clean, float scale, float* noisy) {
    require_noise_count(count);
    const NoiseStream stream{seed, epoch, image};
    parallel_pieces(count, 2 * count, [&](std::int64_t begin, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(noise_span)(stream, begin, length, clean + begin, scale, noisy + begin);
    });
}

void normal_numbers(std::uint64_t seed, Purpose purpose, std::uint32_t epoch, std::uint32_t image,
                    std::int64_t first, std::int64_t count, float* numbers) {
    require_noise_count(first + count);
    const NoiseStream stream{seed, epoch, image, purpose};
    const std::int64_t before = first % 4;  // of the block that it begins in
    std::vector<float> whole(std::size_t(before + count), 0.0f);
    HWY_DYNAMIC_DISPATCH(noise_span)
    (stream, first - before, before + count, whole.data(), 1.0f, whole.data());
    std::copy(whole.begin() + before, whole.end(), numbers);
}

}  // namespace cpu
}  // namespace tvmap
#endif
