// What the tests of kernels rest on: their comparisons let nothing pass unseen, and their buffers notice every write.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/gpu/gpu.h"
#include "tests/support/device_buffer.h"
#include "tests/support/emulated_trial.h"

using namespace tvmap;

namespace {

__global__ void nothing_trial() {}

TEST_CASE("kernels count as compared once something was compared after them") {
    compared_otherwise();
    gpu::launch(test_stream(), {.name = "nothing_trial"}, nothing_trial);
    CHECK(emulation::launched() == std::set<std::string>{"nothing_trial"});
    CHECK(compared_bits(std::vector<int>{1}, std::vector<int>{1}));
    CHECK(emulation::launched().empty());
    CHECK(emulation::compared().count("nothing_trial") == 1);
}

TEST_CASE("a comparison of bits says where the first difference is, and how many there are") {
    using Values = std::vector<float>;
    CHECK(compared_bits(Values{0, 1, 2, 3}, Values{0, 1, -2, 4}).difference ==
          "[2] is 2 (0x40000000), not -2 (0xc0000000); 2 of 4 differ");
    CHECK(compared_bits(Values{0.1f}, Values{0.100000009f}).difference ==
          "[0] is 0.100000001 (0x3dcccccd), not 0.100000009 (0x3dccccce); 1 of 1 differ");
    CHECK(compared_bits(std::vector<unsigned char>{7}, {200}).difference ==
          "[0] is 7 (0x7), not 200 (0xc8); 1 of 1 differ");
    CHECK(compared_bits(Values{1}, Values{1, 2}).difference == "1 values, not 2");
    CHECK(compared_bits(Values{}, Values{}).difference == "nothing to compare");
    CHECK(doctest::toString(compared_bits(Values{1}, Values{2})) ==
          "[0] is 1 (0x3f800000), not 2 (0x40000000); 1 of 1 differ");
}

TEST_CASE("comparisons let nothing empty, short or undefined pass") {
    using Values = std::vector<float>;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    CHECK(compared_bits(Values{1, nan}, Values{1, nan}));
    CHECK_FALSE(compared_bits(Values{0.0f}, Values{-0.0f}));
    CHECK_FALSE(compared_bits(Values{}, Values{}));
    CHECK_FALSE(compared_bits(Values{1}, Values{1, 2}));
    CHECK(relative_difference(Values{3, 4}, Values{3, 4}) == 0);
    CHECK(relative_difference(Values{3, 4.5f}, std::vector<double>{3, 4}) == doctest::Approx(0.1));
    CHECK(relative_difference(Values{0}, Values{0}) == 0);
    CHECK(largest_difference(Values{3, 4}, std::vector<double>{2.5, 4}) == 0.5);
    for (const auto difference : {relative_difference<float, float>, largest_difference<float, float>}) {
        CHECK(difference({}, {}) == infinity);
        CHECK(difference({1}, {1, 2}) == infinity);
        CHECK(difference({1, nan}, {1, 1}) == infinity);
        CHECK(difference({1, nan}, {1, nan}) == infinity);
        CHECK(difference({1, 1}, {1, nan}) == infinity);
        CHECK(difference({infinity}, {infinity}) == infinity);
    }
    CHECK(relative_difference(Values{1}, Values{0}) == infinity);
}

__global__ void fill_trial(int count, float* values, float value) {
    for (int i = 0; i < count; ++i) values[i] = value;
}

TEST_CASE("device buffers notice what is written beside the values") {
    const auto write = [](float* from, int count, float value) {
        gpu::launch(test_stream(), {.name = "fill_trial", .block = 1}, fill_trial, count, from, value);
    };
    for (const auto& [start, count, intact] :
         {std::tuple{0, 5, true}, std::tuple{-1, 1, false}, std::tuple{0, 6, false}}) {
        DeviceBuffer<float> buffer(5);
        CHECK(buffer.untouched());
        write(buffer.data() + start, count, 2.0f);
        CHECK(buffer.intact() == intact);
        CHECK_FALSE(buffer.untouched());
    }
    std::vector<double> values(2 * 2 * 3 * 5);
    std::iota(values.begin(), values.end(), 1.0);
    DeviceFeatures features(2, 2, 3, 5, 1, values, 3);
    CHECK(features.view().shape.image_stride == 45);
    CHECK(reinterpret_cast<std::uintptr_t>(features.data()) % 256 == 12);
    CHECK(compared_bits(features.get(), values));
    CHECK(features.intact());
    write(features.data() + 45, 30, 7.0f);  // the second image
    CHECK(features.intact());
    std::fill(values.begin() + 30, values.end(), 7.0);
    CHECK(compared_bits(features.get(), values));
    write(features.data() + 30, 1, 7.0f);  // between the images
    CHECK_FALSE(features.intact());
}

}  // namespace
