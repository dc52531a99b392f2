// bfloat16 by arithmetic: 1 sign, 8 exponent and 7 fraction bits.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace reference {

/// The nearest number with eight significant bits, ties to the even one; nothing is finer than 2^-133.
inline double nearest_bfloat16(double v) {
    if (!std::isfinite(v) || v == 0) return v;
    const double unit = std::ldexp(1.0, std::max(std::ilogb(v), -126) - 7);
    const double nearest = std::nearbyint(v / unit) * unit;  // the default rounding mode is to even
    return std::abs(nearest) < 0x1p128 ? nearest : std::copysign(std::numeric_limits<double>::infinity(), v);
}

inline double bfloat16_value(std::uint16_t bits) {
    const int exponent = bits >> 7 & 0xFF, fraction = bits & 0x7F;
    double v = exponent == 0 ? std::ldexp(fraction, -133) : std::ldexp(128 + fraction, exponent - 134);
    if (exponent == 0xFF)
        v = fraction ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
    return bits >> 15 ? -v : v;
}

}  // namespace reference
