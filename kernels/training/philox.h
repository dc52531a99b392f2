// Philox 4×32-10 and the standard normal number of a word, as kernels/training/random.h defines them, one at a time,
// for code that runs on the host and on the GPU. Every rounding is explicit, so both get the same bits; the
// CPU's vectors (kernels/training/random.cpp) round alike.
//
// Inverse normal distribution function of a 32-bit word u. With the top bit as the sign, a = u or ~u in
// [0, 2³¹) is the distance from the centre and b = 2³¹ − 1 − a the distance from the end, both exact
// integers:
//     y = (a + ½)/2³²  the probability's distance from ½          h = (b + ½)/2³² = ½ − y  the tail beyond it
//     centre, y < 0.4:  x = y·P(y²)
//     tail:             x = Q((s − 3.15)/1.64),  s = √(−ln h),  ln h = (e − 33)·ln 2 + ln m,  2b + 1 = m·2ᵉ,
//                       m in [√½, √2),  ln m = (m − 1)·R(m − 1)
// tools/fit_inverse_normal.py makes P, Q and R.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/base/error.h"
#include "kernels/base/host_device.h"

namespace tvmap {

inline constexpr std::uint32_t philox_multiplier[2] = {0xD2511F53u, 0xCD9E8D57u};
inline constexpr std::uint32_t philox_weyl[2] = {0x9E3779B9u, 0xBB67AE85u};
inline constexpr int philox_rounds = 10;

/// A counter, and the random words that it stands for.
struct PhiloxBlock {
    std::uint32_t word[4];
};

TVMAP_HOST_DEVICE inline PhiloxBlock philox_block(std::uint64_t key, PhiloxBlock c) {
    constexpr std::uint32_t m0 = philox_multiplier[0], m1 = philox_multiplier[1];
    constexpr std::uint32_t w0 = philox_weyl[0], w1 = philox_weyl[1];
    std::uint32_t k0 = std::uint32_t(key), k1 = std::uint32_t(key >> 32);
    for (int round = 0; round < philox_rounds; ++round) {
        const std::uint64_t p0 = std::uint64_t(m0) * c.word[0], p1 = std::uint64_t(m1) * c.word[2];
        c = {{std::uint32_t(p1 >> 32) ^ c.word[1] ^ k0, std::uint32_t(p1),
              std::uint32_t(p0 >> 32) ^ c.word[3] ^ k1, std::uint32_t(p0)}};
        k0 += w0, k1 += w1;
    }
    return c;
}

/// Four values a block: refuses more than a 32-bit index can name.
inline void require_noise_count(std::int64_t count) {
    if (count > std::int64_t(4) << 32)
        fail("noise for ", count, " values of one image: the counter ends at 2^34; use smaller images");
}

/// P, Q and R, lowest power first.
struct NormalPolynomials {
    float centre[10], tail[11], logarithm[9];
};
TVMAP_HOST_DEVICE constexpr NormalPolynomials normal_polynomials() {
    return {{2.50662804f, 2.62507677f, 5.74498272f, 17.7283154f, -30.3469067f, 1790.18982f, -20102.6289f,
             154528.891f, -620105.562f, 1142527.25f},
            {3.89520264f, 2.5042417f, -0.0711764991f, 0.0291004442f, -0.0122618647f, 0.00543427607f,
             -0.00257306616f, 0.000846269599f, -0.000178039903f, 0.00041399672f, -0.000275970611f},
            {1.0f, -0.499999881f, 0.333341867f, -0.250020742f, 0.199568331f, -0.165623963f, 0.149522722f,
             -0.143668249f, 0.0872231722f}};
}

/// Horner's scheme.
template <int count>
TVMAP_HOST_DEVICE inline float polynomial(const float (&coefficients)[count], float x) {
    float sum = coefficients[count - 1];
    for (int power = count - 2; power >= 0; --power) sum = std::fma(sum, x, coefficients[power]);
    return sum;
}

/// The standard normal number of a word.
TVMAP_HOST_DEVICE inline float inverse_normal(std::uint32_t word) {
    constexpr NormalPolynomials p = normal_polynomials();
    const std::int32_t a = std::int32_t(word >> 31 ? ~word : word), b = 0x7fffffff - a;
    const float y = std::fma(float(a), 0x1p-32f, 0x1p-33f);
    float magnitude;
    if (y < 0.4f) {
        magnitude = y * polynomial(p.centre, y * y);
    } else {
        const float odd = std::fma(float(b), 2.0f, 1.0f);
        std::uint32_t bits;
        std::memcpy(&bits, &odd, sizeof bits);
        const std::int32_t exponent = std::int32_t(bits - 0x3f3504f3u) >> 23;  // 0x3f3504f3: the bits of √½
        bits -= std::uint32_t(exponent) << 23;
        float mantissa;
        std::memcpy(&mantissa, &bits, sizeof mantissa);
        const float m = mantissa - 1.0f, log_m = m * polynomial(p.logarithm, m);
        const float minus_log_h = std::fma(float(33 - exponent), 0.693147182f, -log_m);
        magnitude = polynomial(p.tail, std::fma(std::sqrt(minus_log_h), 0.609756098f, -1.92073171f));
    }
    return word >> 31 ? -magnitude : magnitude;
}

}  // namespace tvmap
