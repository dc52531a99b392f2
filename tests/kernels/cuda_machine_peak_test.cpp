// The yardsticks themselves: what the rates are taken from must have been computed.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/machine_peak.h"
#include "tests/support/device_buffer.h"

using namespace tvmap;

TEST_CASE("triad") {
    for (const int count : {4, 1020, 40000}) {
        std::vector<float> b, c, expected;
        for (int i = 0; i < count; ++i) {
            b.push_back(float(i));
            c.push_back(float(3 * i % 17));
            expected.push_back(b.back() + 0.5f * c.back());  // exact: small multiples of one half
        }
        DeviceBuffer<float> in(count), other(count), out(count);
        in.upload(b), other.upload(c);
        cuda::triad(test_stream(), count, in.data(), other.data(), out.data());
        CHECK(compared_bits(out.download(), expected));
        CHECK(out.intact());
    }
    CHECK_THROWS_AS(cuda::triad(test_stream(), 3, nullptr, nullptr, nullptr), Error);
}

TEST_CASE("chains of multiplications and additions converge to 1 each") {
    for (const int rounds : {1, 2, 60}) {
        DeviceBuffer<float> sinks(512);
        cuda::multiply_add_chains(test_stream(), rounds, 512, sinks.data());
        std::vector<float> expected;
        for (int thread = 0; thread < 512; ++thread) {
            float sum = 0;
            for (int i = 0; i < 8; ++i) {
                float v = float(i + thread % 256);
                for (int round = 0; round < rounds; ++round) v = std::fma(v, 0.5f, 0.5f);
                sum += v;
            }
            expected.push_back(sum);
        }
        CHECK(compared_bits(sinks.download(), expected));
        CHECK(sinks.intact());
    }
}

TEST_CASE("both rates are measured") {
    const MachinePeak peak = cuda::measure_peak(test_stream());
    CHECK(peak.bytes_per_second > 0);
    CHECK(peak.operations_per_second > 0);
}
