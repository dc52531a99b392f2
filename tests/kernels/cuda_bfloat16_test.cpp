// Rounding to bfloat16 and back on CUDA: exact, in both orders of channels.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/layers/bfloat16.h"
#include "tests/kernels/layer_case.h"
#include "tests/reference/bfloat16.h"
#include "tests/support/device_buffer.h"

using namespace tvmap;
using namespace layer_case;

TEST_CASE("bfloat16: rounding to nearest even, both orders of channels, and back") {
    for_each_case([](const Case& k) {
        Array x = random_values(k.size(), 22);
        // Ties to either side, a carry into the exponent, overflow, the largest that is none, subnormals.
        const Array special{1 + 0x1p-8, 1 + 0x3p-8, -1.998046875, 3.4e38, 0x1.FEp127, -0x1.FEFFFEp127,
                            0x1p-133,   0x1.8p-133, 0x1p-134,     -0.0,   INFINITY,   -INFINITY};
        for (std::size_t i = 0; i < special.size() && i < x.size(); ++i)
            x[(i * 7 + 3) % x.size()] = float(special[i]);
        const std::int64_t pixels = k.h * k.w;
        const Array old = random_values(k.size(), 23);
        DeviceFeatures on_x(k.n, k.c, k.h, k.w, k.slack, x, k.offset);
        for (const bool channels_last : {false, true}) {
            CAPTURE(channels_last);
            const auto place = [&](std::int64_t i) {
                const std::int64_t n = i / (k.c * pixels), c = i / pixels % k.c, pixel = i % pixels;
                return std::size_t(channels_last ? (n * pixels + pixel) * k.c + c : i);
            };
            DeviceBuffer<std::uint16_t> narrow(k.size());
            cuda::to_bfloat16(test_stream(), on_x.view(), narrow.data(), channels_last);
            const std::vector<std::uint16_t> bits = narrow.download();
            CHECK(narrow.intact());
            Array got(x.size()), expected(x.size());
            for (std::int64_t i = 0; i < k.size(); ++i) {
                got[i] = reference::bfloat16_value(bits[place(i)]);
                expected[i] = reference::nearest_bfloat16(x[i]);
            }
            CHECK(compared_bits(got, expected));
            for (const Write write : writes) {
                DeviceFeatures y(k.n, k.c, k.h, k.w, 2 * k.slack, old, k.offset);
                cuda::from_bfloat16(test_stream(), narrow.data(), channels_last, y.view(), write);
                const bool overwrite = write == Write::overwrite;
                CHECK(compared_bits(y.get(), overwrite ? expected : as_float(plus(old, expected))));
                CHECK(y.intact());
            }
        }
    });
}

TEST_CASE("bfloat16: a NaN stays one, also where its payload lies in the lower half alone") {
    DeviceBuffer<std::uint32_t> floats(4);
    floats.upload({0x7F800001u, 0xFFFFFFFFu, 0x7FC00000u, 0x7FBFFFFFu});
    DeviceBuffer<std::uint16_t> narrow(4);
    const ConstView x{reinterpret_cast<const float*>(floats.data()), dense_features(1, 1, 1, 4, 1)};
    cuda::to_bfloat16(test_stream(), x, narrow.data(), false);
    for (const std::uint16_t bits : narrow.download()) CHECK(std::isnan(reference::bfloat16_value(bits)));
}
