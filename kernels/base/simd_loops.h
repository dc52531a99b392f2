// Loops over vectors that kernels share. Compiled for every instruction set: a file that Highway compiles per
// target includes this after highway.h.
#if defined(TVMAP_KERNELS_SIMD_LOOPS_H) == defined(HWY_TARGET_TOGGLE)  // once for each target
#ifdef TVMAP_KERNELS_SIMD_LOOPS_H
#undef TVMAP_KERNELS_SIMD_LOOPS_H
#else
#define TVMAP_KERNELS_SIMD_LOOPS_H
#endif

#include <cstdint>

#include <hwy/highway.h>

#include "kernels/base/element.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// A vector of floats from numbers of either element, at any address.
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* from) {
    return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const Bfloat16* from) {
    const hn::Rebind<std::uint16_t, D> narrow;
    const hn::RebindToUnsigned<D> wide;
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(wide, hn::LoadU(narrow, &from->bits))));
}

/// A vector of floats as numbers of either element: see Element for the rounding.
template <class D>
HWY_INLINE void store(hn::Vec<D> value, D d, float* to) {
    hn::StoreU(value, d, to);
}
template <class D>
HWY_INLINE void store(hn::Vec<D> value, D, Bfloat16* to) {
    const hn::Rebind<std::uint16_t, D> narrow;
    const hn::RebindToUnsigned<D> wide;
    const hn::RebindToSigned<D> whole;
    const auto bits = hn::BitCast(wide, value);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(wide, 1u));
    const auto rounded = hn::Add(hn::Add(bits, hn::Set(wide, 0x7fffu)), odd);
    const auto quiet = hn::Or(bits, hn::Set(wide, 0x400000u));
    const auto upper = hn::IfThenElse(hn::RebindMask(wide, hn::IsNaN(value)), quiet, rounded);
    hn::StoreU(hn::DemoteTo(narrow, hn::BitCast(whole, hn::ShiftRight<16>(upper))), narrow, &to->bits);
}

/// body(d, i) for the floats from i on that fill a vector d: whole vectors first, what is left one by one.
template <class Body>
HWY_INLINE void for_each_vector(std::int64_t count, const Body& body) {
    const hn::ScalableTag<float> whole;
    const hn::CappedTag<float, 1> single;
    const std::int64_t lanes = hn::Lanes(whole);
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) body(whole, i);
    for (; i < count; ++i) body(single, i);
}

/// Stores a vector or adds it to what is there. The choice is the compiler's to know: at -O3 GCC 12 turns a
/// choice made within a loop into a masked AVX-512 addition, with 1 for the mask, that is of the first lane
/// alone.
template <bool accumulate, class D, class Number>
HWY_INLINE void write_out(D d, hn::Vec<D> value, Number* to) {
    if constexpr (accumulate) value = hn::Add(load(d, to), value);
    store(value, d, to);
}

/// to[i] = value(d, i) for every i, or added to what is there.
template <class Value>
HWY_INLINE void write_each(std::int64_t count, bool accumulate, float* to, const Value& value) {
    if (accumulate) {
        for_each_vector(count,
                        [&](auto d, std::int64_t i) HWY_ATTR { write_out<true>(d, value(d, i), to + i); });
    } else {
        for_each_vector(count,
                        [&](auto d, std::int64_t i) HWY_ATTR { write_out<false>(d, value(d, i), to + i); });
    }
}

/// body(d) with the longest vectors, of 16 floats at most, that fill a block of channels.
template <class Body>
HWY_INLINE void for_block(int block, const Body& body) {
    if (block % 16 == 0) {
        body(hn::CappedTag<float, 16>());
    } else if (block % 8 == 0) {
        body(hn::CappedTag<float, 8>());
    } else {
        body(hn::CappedTag<float, 1>());
    }
}

}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
