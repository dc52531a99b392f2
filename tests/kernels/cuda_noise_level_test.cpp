// The CUDA versions of kernels/layers/noise_level.h: sums of one block and of a cluster, wide and narrow accesses.
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/layers/noise_level.h"
#include "tests/kernels/layer_case.h"
#include "tests/support/device_buffer.h"

using namespace tvmap;
using namespace layer_case;

TEST_CASE("the noise level is Immerkær's") {
    for (const auto& [n, h, w] : {std::array{1, 3, 3}, {3, 4, 19}, {2, 33, 5}, {1, 67, 131}, {2, 96, 96}}) {
        CAPTURE(w);
        const Array z = random_values(std::int64_t(n) * h * w, 5);
        DeviceFeatures on_z(n, 1, h, w, 0, z), level(n, 1, 1, 1);
        cuda::noise_level_forward(test_stream(), on_z.view(), level.view());
        const Array found = level.get();
        // A response is four roundings of numbers below 16, each of 2^-24, and the mean is near two.
        for (int k = 0; k < n; ++k)
            CHECK(std::abs(found[k] / reference::noise_level(&z[std::size_t(k) * h * w], h, w) - 1) < 1e-6);
        CHECK(level.intact());
    }
}

TEST_CASE("no estimate is zero") {
    for (const int side : {1, 2, 8}) {
        DeviceFeatures z(1, 1, side, side, 0, Array(side * side, 0.5)), level(1, 1, 1, 1);
        cuda::noise_level_forward(test_stream(), z.view(), level.view());
        CHECK(level.get()[0] == double(least_noise_level));
    }
}

TEST_CASE("images times and over a number each are exact") {
    for_each_case([](const Case& k) {
        const Array x = random_values(k.size(), 1), old = random_values(k.size(), 2);
        Array factor(k.n);
        for (int n = 0; n < k.n; ++n) factor[n] = float(0.3 + n);
        DeviceFeatures on_x(k.n, k.c, k.h, k.w, k.slack, x, k.offset), by(k.n, 1, 1, 1, 0, factor);
        for (const Scaling scaling : {Scaling::multiply, Scaling::divide})
            for (const Write write : writes) {
                DeviceFeatures y(k.n, k.c, k.h, k.w, 2 * k.slack, old, k.offset);
                cuda::scale_images(test_stream(), scaling, on_x.view(), by.view(), y.view(), write);
                Array expected = x;
                for (std::int64_t i = 0; i < k.size(); ++i) {
                    const float f = float(factor[i / (k.size() / k.n)]), v = float(x[i]);
                    const float scaled = scaling == Scaling::multiply ? v * f : v / f;
                    expected[i] = write == Write::accumulate ? float(old[i]) + scaled : scaled;
                }
                CHECK(compared_bits(y.get(), expected));
                CHECK(y.intact());
            }
    });
}
