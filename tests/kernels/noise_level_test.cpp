// The noise's standard deviation against its definition in double, and images times or over a number each: every
// instruction set, one and several threads, strided images, overwrite and accumulate.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>

#include "kernels/base/error.h"
#include "kernels/layers/noise_level.h"
#include "tests/kernels/layer_case.h"
#include "tests/support/feature_buffer.h"
#include "tests/support/run_on.h"

using namespace tvmap;
using namespace layer_case;

namespace {

template <class Body>
void on_everything(const Body& body) {
    for (const std::string& set : cpu::instruction_sets())
        for (const int threads : {1, 3}) {
            CAPTURE(set);
            const RunOn on(threads, set);
            body();
        }
}

/// σ̂ of each of n images.
Array levels(const Array& z, int n, int h, int w) {
    const FeatureBuffer on_z(n, 1, h, w, 1, 0, z);
    FeatureBuffer level(n, 1, 1, 1, 1);
    cpu::noise_level_forward(on_z.view(), level.view());
    CHECK(level.intact());
    return level.get();
}

}  // namespace

TEST_CASE("the noise level is Immerkær's") {
    on_everything([] {
        for (const auto& [n, h, w] :
             {std::array{1, 3, 3}, {3, 4, 19}, {2, 33, 5}, {1, 67, 131}, {4, 64, 64}}) {
            CAPTURE(w);
            const Array z = random_values(std::int64_t(n) * h * w, 5);
            const Array found = levels(z, n, h, w);
            // A response is four roundings of numbers below 16, each of 2^-24, and the mean is near two.
            for (int k = 0; k < n; ++k)
                CHECK(std::abs(found[k] / reference::noise_level(&z[std::size_t(k) * h * w], h, w) - 1) <
                      1e-6);
        }
    });
}

TEST_CASE("on white noise the estimate is its standard deviation, and planes are no noise") {
    std::mt19937 generator(3);
    std::normal_distribution<double> normal(0, 0.1);
    const int side = 256;
    Array z(side * side);
    for (int k = 0; k < side * side; ++k)
        z[k] = float(0.3 + 0.001 * (k / side) - 0.002 * (k % side) + normal(generator));
    // The mean of 254² absolute values, 2.9 of which at a time are one's worth of independence: 0.5 % deviation.
    CHECK(std::abs(levels(z, 1, side, side)[0] / 0.1 - 1) < 0.015);
}

TEST_CASE("no estimate is zero") {
    CHECK(levels(Array(64, 0.5), 1, 8, 8)[0] == double(least_noise_level));
    CHECK(levels(Array(2, 0.5), 1, 1, 2)[0] == double(least_noise_level));
    CHECK(levels({1, -1, 1, -1}, 1, 2, 2)[0] == double(least_noise_level));
}

TEST_CASE("images times and over a number each are exact") {
    on_everything([] {
        for_each_case([](const Case& k) {
            const Array x = random_values(k.size(), 1), old = random_values(k.size(), 2);
            Array factor(k.n);
            for (int n = 0; n < k.n; ++n) factor[n] = float(0.3 + n);
            const FeatureBuffer on_x(k.n, k.c, k.h, k.w, 1, k.slack, x), by(k.n, 1, 1, 1, 1, 0, factor);
            for (const Scaling scaling : {Scaling::multiply, Scaling::divide})
                for (const Write write : writes) {
                    FeatureBuffer y(k.n, k.c, k.h, k.w, 1, 2 * k.slack, old);
                    cpu::scale_images(scaling, on_x.view(), by.view(), y.view(), write);
                    Array expected = x;
                    for (std::int64_t i = 0; i < k.size(); ++i) {
                        const float f = float(factor[i / (k.size() / k.n)]), v = float(x[i]);
                        const float scaled = scaling == Scaling::multiply ? v * f : v / f;
                        expected[i] = write == Write::accumulate ? float(old[i]) + scaled : scaled;
                    }
                    CHECK(y.get() == expected);
                    CHECK(y.intact());
                }
        });
    });
}

TEST_CASE("wrong shapes are refused, by name") {
    FeatureBuffer two(2, 1, 4, 4, 1), one(1, 1, 1, 1, 1), colour(2, 3, 4, 4, 1), levels_of_two(2, 1, 1, 1, 1);
    CHECK_THROWS_WITH_AS(cpu::noise_level_forward(two.view(), one.view()), doctest::Contains("noise level"),
                         Error);
    CHECK_THROWS_WITH_AS(cpu::noise_level_forward(colour.view(), levels_of_two.view()),
                         doctest::Contains("noise level: z"), Error);
    CHECK_THROWS_WITH_AS(
        cpu::scale_images(Scaling::divide, two.view(), one.view(), two.view(), Write::overwrite),
        doctest::Contains("scaled: factor"), Error);
    CHECK_THROWS_WITH_AS(
        cpu::scale_images(Scaling::divide, two.view(), levels_of_two.view(), colour.view(), Write::overwrite),
        doctest::Contains("scaled: y"), Error);
}
