// What a tensor's numbers are. A bfloat16 is the upper half of a float's bits: the same exponents, 8 significant bits.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>

namespace tvmap {

/// bf16 takes half the memory and traffic. Kernels widen what they load, and round once what they store: to the nearest,
/// ties to even; a NaN stays one.
enum class Element { fp32, bf16 };

struct Bfloat16 {
    std::uint16_t bits;
};

inline constexpr std::size_t element_bytes(Element element) {
    return element == Element::bf16 ? sizeof(Bfloat16) : sizeof(float);
}

/// Of float or Bfloat16.
template <class Number>
inline constexpr Element element_of = sizeof(Number) == sizeof(Bfloat16) ? Element::bf16 : Element::fp32;

/// body(number) with some number of the element: a body that goes by decltype(number) is compiled for both.
template <class Body>
void for_element(Element element, const Body& body) {
    if (element == Element::bf16)
        body(Bfloat16());
    else
        body(float());
}

/// The nearest.
inline Bfloat16 to_bfloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const bool is_nan = value != value;
    return {std::uint16_t((is_nan ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

/// The same number.
inline float to_float(Bfloat16 value) { return std::bit_cast<float>(std::uint32_t(value.bits) << 16); }

}  // namespace tvmap
