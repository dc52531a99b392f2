// Sizes, strides and values that the tests of the CUDA layers share.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <random>

#include "kernels/base/features.h"
#include "tests/reference/layers.h"

namespace layer_case {

using reference::Array;
using tvmap::Write;

struct Case {
    int n, c, h, w, slack, offset;
    std::int64_t size() const { return std::int64_t(n) * c * h * w; }
};

// Tiny, odd, non-square, strided; widths that are multiples of four or two, or neither; slices that do not
// begin at a multiple of 16 bytes; a plane of several blocks of threads.
inline const Case cases[] = {{1, 1, 2, 2, 0, 0},  {2, 3, 5, 7, 2, 0},   {1, 2, 9, 70, 0, 0},
                             {2, 4, 8, 8, 1, 0},  {1, 3, 7, 12, 0, 0},  {3, 2, 6, 4, 0, 0},
                             {2, 1, 33, 3, 1, 0}, {1, 2, 68, 72, 0, 0}, {2, 1, 61, 67, 3, 5},
                             {1, 33, 6, 8, 0, 0}, {2, 3, 8, 12, 0, 3}};

constexpr Write writes[] = {Write::overwrite, Write::accumulate};

inline Array random_values(std::int64_t count, int seed) {
    std::mt19937 generator(static_cast<unsigned>(seed));
    std::uniform_real_distribution<float> uniform(-1, 1);  // float, so that the product gets the same numbers
    Array values(count);
    for (double& v : values) v = uniform(generator);
    return values;
}

/// Few distinct values, so that windows have ties.
inline Array values_with_ties(std::int64_t count, int seed) {
    Array values = random_values(count, seed);
    for (double& v : values) v = std::round(v * 2) / 2;
    return values;
}

inline Array as_float(Array values) {
    for (double& v : values) v = float(v);
    return values;
}

inline Array plus(Array a, const Array& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
}

inline double dot(const Array& a, const Array& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

template <class Body>
void for_each_case(const Body& body) {
    for (const Case& k : cases) {
        CAPTURE(k.n);
        CAPTURE(k.c);
        CAPTURE(k.h);
        CAPTURE(k.w);
        body(k);
    }
}

}  // namespace layer_case
