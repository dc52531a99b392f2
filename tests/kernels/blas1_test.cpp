// Copies, sums and inner products of tensors against plain loops in double: every instruction set, one thread and two,
// strided images, blocks of channels. (tests/kernels/cuda_blas1_test.cpp has CUDA's, which are the same bits.)
#include "kernels/layers/blas1.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/base/error.h"
#include "tests/support/feature_buffer.h"
#include "tests/support/run_on.h"

using namespace tvmap;

namespace {

using Doubles = std::vector<double>;

struct Case {
    int n, c, h, w, block, slack;
    std::int64_t size() const { return std::int64_t(n) * c * h * w; }
};

// One value; fewer than an inner product has parts; odd; in blocks; more than a thread takes alone; parts of several
// rounds of 256 and a rest.
const Case cases[] = {{1, 1, 1, 1, 1, 0},   {2, 1, 1, 5, 1, 1},   {3, 5, 7, 9, 1, 2},
                      {2, 16, 6, 5, 8, 16}, {1, 32, 9, 7, 16, 0}, {2, 3, 131, 127, 1, 1}};

Doubles random_values(std::int64_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    Doubles values(static_cast<std::size_t>(count));
    for (double& v : values) v = uniform(generator);
    return values;
}

template <class Body>
void for_each_case(const Body& body) {
    for (const std::string& set : cpu::instruction_sets())
        for (const int threads : {1, 2})
            for (const Case& k : cases) {
                CAPTURE(set);
                CAPTURE(threads);
                CAPTURE(k.size());
                const RunOn on(threads, set);
                FeatureBuffer x(k.n, k.c, k.h, k.w, k.block, k.slack, random_values(k.size(), 1)),
                    y(k.n, k.c, k.h, k.w, k.block, 2 * k.slack, random_values(k.size(), 2));
                body(k, x, y);
                CHECK(x.intact());
                CHECK(y.intact());
            }
}

}  // namespace

TEST_CASE("copies and constants are exact") {
    for_each_case([](const Case& k, FeatureBuffer& x, FeatureBuffer& y) {
        cpu::copy(x.view(), y.view());
        CHECK(y.get() == random_values(k.size(), 1));
        cpu::fill(y.view(), -0.3f);
        CHECK(y.get() == Doubles(std::size_t(k.size()), double(-0.3f)));
        CHECK(x.get() == random_values(k.size(), 1));
    });
}

TEST_CASE("y + a·x rounds its product and its sum, y = x included") {
    for_each_case([](const Case& k, FeatureBuffer& x, FeatureBuffer& y) {
        const float a = 0.7f;
        Doubles expected = random_values(k.size(), 2), in_place = random_values(k.size(), 1);
        for (std::size_t i = 0; i < expected.size(); ++i) {
            expected[i] = float(expected[i] + double(float(double(a) * in_place[i])));
            in_place[i] = float(in_place[i] + double(float(double(a) * in_place[i])));
        }
        cpu::axpy(a, x.view(), y.view());
        CHECK(y.get() == expected);
        cpu::axpy(a, x.view(), x.view());
        CHECK(x.get() == in_place);
    });
}

TEST_CASE("inner products of each image: exact to the rounding of sums, the same bits everywhere") {
    std::vector<Doubles> first;
    std::size_t number = 0;
    for_each_case([&](const Case& k, FeatureBuffer& x, FeatureBuffer& y) {
        const Doubles a = x.get(), b = y.get();
        Doubles sums(std::size_t(k.n), NAN), squares(std::size_t(k.n), NAN);
        cpu::dot(x.view(), y.view(), sums.data());
        cpu::dot(x.view(), x.view(), squares.data());
        const std::size_t size = std::size_t(k.size() / k.n);
        for (int n = 0; n < k.n; ++n) {
            long double product = 0, square = 0, scale = 0;
            for (std::size_t i = n * size; i < (n + 1) * size; ++i) {
                product += (long double)(a[i]) * b[i];
                square += (long double)(a[i]) * a[i];
                scale += std::abs((long double)(a[i]) * b[i]);
            }
            // A value goes through some size/2048 sums of its own, five foldings, and fifteen in order.
            const double rounding = (double(size) / 2048 + 21) * 0x1p-53;
            CHECK(std::abs(sums[n] - double(product)) <= rounding * double(scale));
            CHECK(std::abs(squares[n] - double(square)) <= rounding * double(square));
        }
        sums.insert(sums.end(), squares.begin(), squares.end());
        const std::size_t which = number++ % std::size(cases);
        if (which == first.size()) first.push_back(sums);
        CHECK(sums == first[which]);
    });
}

TEST_CASE("an inner product's order is the one that is promised") {
    // 2048 values a round: a large one, and small ones that are lost where they are added to it one by one.
    const int rounds = 2, size = 2048 * rounds;
    std::vector<float> x(std::size_t(size), 0.0f), ones(std::size_t(size), 1.0f);
    // Sum 0 of part 0 takes values 0 and 256: 2^53 and 1, which rounds away.
    x[0] = 0x1p53f, x[256] = 1;
    double sum = 0;
    const Features shape = dense_features(1, 1, 1, size, 1);
    cpu::dot({x.data(), shape}, {ones.data(), shape}, &sum);
    CHECK(sum == 0x1p53);
    // Sums 8 and 24 are folded before they meet sum 0: 1 + 1 counts.
    x[256] = 0, x[8] = 1, x[24] = 1;
    cpu::dot({x.data(), shape}, {ones.data(), shape}, &sum);
    CHECK(sum == 0x1p53 + 2);
    // Sum 16 is added to sum 0 first, sum 8 after it: each alone rounds away.
    x[24] = 0, x[16] = 1;
    cpu::dot({x.data(), shape}, {ones.data(), shape}, &sum);
    CHECK(sum == 0x1p53);
}

TEST_CASE("other shapes are refused") {
    FeatureBuffer x(1, 2, 3, 4, 1), y(1, 2, 4, 3, 1);
    double sum = 0;
    CHECK_THROWS_WITH_AS(cpu::copy(x.view(), y.view()),
                         "copy: y is 1×2×4×3 in blocks of 1, it must be 1×2×3×4 in blocks of 1", Error);
    CHECK_THROWS_AS(cpu::axpy(1, x.view(), y.view()), Error);
    CHECK_THROWS_AS(cpu::dot(x.view(), y.view(), &sum), Error);
}
