// Random numbers in plain scalar code: the published Philox 4×32-10, the normal distribution in double, and
// the inverse normal polynomial of the product evaluated with std::fma, one number at a time.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <vector>

namespace reference {

inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> k) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
        c = {std::uint32_t(b >> 32) ^ c[1] ^ k[0], std::uint32_t(b), std::uint32_t(a >> 32) ^ c[3] ^ k[1],
             std::uint32_t(a)};
        k = {k[0] + 0x9E3779B9u, k[1] + 0xBB67AE85u};
    }
    return c;
}

inline double normal_cdf(double x) { return 0.5 * std::erfc(-x * std::numbers::sqrt2 / 2); }

/// The x > 0 whose upper tail is h in (0, 1/2], by bisection on erfc.
inline double upper_quantile(double h) {
    double low = 0, high = 10;
    for (int i = 0; i < 60; ++i) {
        const double middle = (low + high) / 2;
        (0.5 * std::erfc(middle * std::numbers::sqrt2 / 2) > h ? low : high) = middle;
    }
    return (low + high) / 2;
}

/// The exact value that inverse_normal approximates.
inline double inverse_normal_exact(std::uint32_t word) {
    const std::uint32_t a = word >> 31 ? ~word : word;
    const double x = upper_quantile((2147483647.0 - a + 0.5) * 0x1p-32);
    return word >> 31 ? -x : x;
}

inline float polynomial(const std::vector<float>& coefficients, float x) {
    float sum = coefficients.back();
    for (std::size_t i = coefficients.size() - 1; i-- > 0;) sum = std::fma(sum, x, coefficients[i]);
    return sum;
}

/// The same approximation, rounding by rounding.
inline float inverse_normal(std::uint32_t word) {
    static const std::vector<float> centre{2.50662804f, 2.62507677f,  5.74498272f, 17.7283154f,  -30.3469067f,
                                           1790.18982f, -20102.6289f, 154528.891f, -620105.562f, 1142527.25f};
    static const std::vector<float> tail{3.89520264f,      2.5042417f,     -0.0711764991f,  0.0291004442f,
                                         -0.0122618647f,   0.00543427607f, -0.00257306616f, 0.000846269599f,
                                         -0.000178039903f, 0.00041399672f, -0.000275970611f};
    static const std::vector<float> logarithm{1.0f,          -0.499999881f, 0.333341867f,
                                              -0.250020742f, 0.199568331f,  -0.165623963f,
                                              0.149522722f,  -0.143668249f, 0.0872231722f};
    const std::int32_t a = std::int32_t(word >> 31 ? ~word : word), b = 0x7fffffff - a;
    const float y = std::fma(float(a), 0x1p-32f, 0x1p-33f);
    float x;
    if (y < 0.4f) {
        x = y * polynomial(centre, y * y);
    } else {
        const float odd = std::fma(float(b), 2.0f, 1.0f);
        std::int32_t bits;
        std::memcpy(&bits, &odd, 4);
        const std::int32_t exponent = (bits - 0x3f3504f3) >> 23;  // so that the mantissa lies in [√½, √2)
        bits -= exponent * (1 << 23);
        float m;
        std::memcpy(&m, &bits, 4);
        m -= 1.0f;
        const float minus_log_h =
            std::fma(float(33 - exponent), 0.693147182f, -(m * polynomial(logarithm, m)));
        x = polynomial(tail, std::fma(std::sqrt(minus_log_h), 0.609756098f, -1.92073171f));
    }
    return word >> 31 ? -x : x;
}

}  // namespace reference
