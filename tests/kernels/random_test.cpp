// Random numbers: Philox against its published vectors, the inverse normal against its exact value, the same
// bits on every instruction set and for any thread count, and the distribution of a million numbers.
#include "kernels/training/random.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "tests/reference/random.h"
#include "tests/support/run_on.h"

using namespace tvmap;

namespace {

/// Words across the whole range: both ends, the seam between centre and tail, and a stride that meets every
/// binade.
std::vector<std::uint32_t> many_words() {
    std::vector<std::uint32_t> words;
    const std::uint32_t seam = std::uint32_t(0.4 * 0x1p32);
    for (std::uint32_t i = 0; i < 1000; ++i)
        for (const std::uint32_t base : {0u, 0x7fffffffu - 999u, seam - 500u}) {
            words.push_back(base + i);
            words.push_back(~(base + i));
        }
    for (int power = 0; power < 31; ++power)
        for (int i = -2; i <= 2; ++i) words.push_back(0x7fffffffu - ((1u << power) + std::uint32_t(i)));
    for (std::uint64_t word = 7; word < 1ull << 32; word += 100003) words.push_back(std::uint32_t(word));
    return words;
}

std::vector<float> noise(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image, std::int64_t count) {
    std::vector<float> n(count, 0.0f);
    cpu::add_noise(seed, epoch, image, count, n.data(), 1.0f, n.data());
    return n;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("Philox 4x32-10 gives the published vectors") {
    using Block = std::array<std::uint32_t, 4>;
    CHECK(philox(0, {0, 0, 0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    const std::uint32_t ones = 0xffffffff;
    CHECK(philox(~0ull, {ones, ones, ones, ones}) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    CHECK(philox(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}) ==
          Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("uniform numbers lie in [0, 1), are spread evenly and never share a counter") {
    double mean = 0;
    std::set<float> seen;
    std::array<int, 16> bins{};
    const int count = 4096;
    for (int i = 0; i < count; ++i) {
        const float u = uniform(42, Purpose::shuffle, 1, 2, std::uint32_t(i));
        REQUIRE(u >= 0.0f);
        REQUIRE(u < 1.0f);
        const auto words =
            reference::philox({std::uint32_t(i), 2, 1, std::uint32_t(Purpose::shuffle)}, {42, 0});
        REQUIRE(u == float(words[0] / 256) / 16777216.0f);
        mean += u / count;
        ++bins[int(u * 16)];
    }
    CHECK(std::abs(mean - 0.5) < 4 * 0.2887 / std::sqrt(count));  // four standard errors
    double chi = 0;
    for (const int n : bins) chi += (n - count / 16.0) * (n - count / 16.0) / (count / 16.0);
    CHECK(chi < 37.7);  // 15 degrees of freedom, 0.1 %; the numbers are fixed, so this holds for ever
    for (std::uint32_t k = 0; k < 8; ++k) {
        seen.insert(uniform(42 + k, Purpose::crop, 0, 0, 0));
        seen.insert(uniform(42ull + (std::uint64_t(k + 1) << 32), Purpose::crop, 0, 0, 0));
        seen.insert(uniform(42, Purpose::crop, k + 1, 0, 0));
        seen.insert(uniform(42, Purpose::crop, 0, k + 1, 0));
        seen.insert(uniform(42, Purpose::crop, 0, 0, k + 1));
        seen.insert(uniform(42, Purpose(k + 10), 0, 0, 0));
    }
    CHECK(seen.size() == 48);
}

TEST_CASE("the inverse normal is accurate to the ends of 32 bits") {
    const std::vector<std::uint32_t> words = many_words();
    std::vector<float> x(words.size());
    cpu::inverse_normal(words.data(), std::int64_t(words.size()), x.data());
    double worst = 0;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const double exact = reference::inverse_normal_exact(words[i]);
        worst = std::max(worst, std::abs(x[i] / exact - 1));
    }
    MESSAGE("largest relative error ", worst);
    // The fits leave 1e-7; the rest are roundings of 2^-24: two in the argument, magnified twofold near the
    // seam, and some five that survive in the Horner schemes.
    CHECK(worst < 6e-7);
    std::uint32_t ends[] = {0x7fffffff, 0x80000000, 0, 0xffffffff};
    float y[4];
    cpu::inverse_normal(ends, 4, y);
    CHECK(y[0] == doctest::Approx(6.3379).epsilon(1e-4));
    CHECK(y[1] == -y[0]);
    CHECK(y[2] > 0.0f);
    CHECK(y[3] == -y[2]);
}

TEST_CASE("the inverse normal has the same bits on every instruction set as in scalar code") {
    const std::vector<std::uint32_t> words = many_words();
    std::vector<float> expected(words.size());
    std::transform(words.begin(), words.end(), expected.begin(), reference::inverse_normal);
    for (const std::string& set : cpu::instruction_sets()) {
        CAPTURE(set);
        const RunOn on(1, set);
        std::vector<float> x(words.size());
        cpu::inverse_normal(words.data(), std::int64_t(words.size()), x.data());
        CHECK(same_bits(x, expected));
        for (const int count : {1, 3, 5, 17, 31}) {  // the remainder takes another path
            std::vector<float> few(count + 1, 99.0f);
            cpu::inverse_normal(words.data() + 40, count, few.data());
            CHECK(std::memcmp(few.data(), expected.data() + 40, count * sizeof(float)) == 0);
            CHECK(few[count] == 99.0f);
        }
    }
}

TEST_CASE("noise is clean + scale·n, word by word, with the same bits everywhere") {
    const std::uint64_t seed = 0x0123456789abcdefull;
    const std::uint32_t epoch = 7, image = 0xfffffff0u;
    for (const std::int64_t count : {1, 2, 3, 4, 5, 31, 33, 4095, 4097, 40003}) {
        CAPTURE(count);
        std::vector<float> clean(count), expected(count);
        for (std::int64_t i = 0; i < count; ++i) {
            clean[i] = float(i % 97) / 97.0f;
            const auto words =
                reference::philox({std::uint32_t(i / 4), image, epoch, 1}, {0x89abcdefu, 0x01234567u});
            expected[i] = std::fma(0.3f, reference::inverse_normal(words[i % 4]), clean[i]);
        }
        for (const std::string& set : cpu::instruction_sets())
            for (const int threads : {1, 2, 3}) {
                CAPTURE(set);
                CAPTURE(threads);
                const RunOn on(threads, set);
                std::vector<float> noisy(count + 8, 99.0f);
                cpu::add_noise(seed, epoch, image, count, clean.data(), 0.3f, noisy.data());
                std::vector<float> in_place = clean;
                cpu::add_noise(seed, epoch, image, count, in_place.data(), 0.3f, in_place.data());
                CHECK(std::memcmp(noisy.data(), expected.data(), count * sizeof(float)) == 0);
                CHECK(std::all_of(noisy.begin() + count, noisy.end(), [](float x) { return x == 99.0f; }));
                CHECK(same_bits(in_place, expected));
            }
    }
}

TEST_CASE("normal numbers are those of their purpose, from any place on") {
    const std::uint64_t seed = 0x0123456789abcdefull;
    for (const Purpose purpose :
         {Purpose::noise, Purpose::second_noise, Purpose::recorruption, Purpose::probe})
        for (const std::int64_t first : {0, 1, 2, 3, 4, 1001})
            for (const std::int64_t count : {1, 3, 4, 65}) {
                CAPTURE(int(purpose));
                CAPTURE(first);
                CAPTURE(count);
                std::vector<float> expected(count);
                for (std::int64_t i = 0; i < count; ++i)
                    expected[i] = reference::inverse_normal(
                        reference::philox({std::uint32_t((first + i) / 4), 9, 5, std::uint32_t(purpose)},
                                          {0x89abcdefu, 0x01234567u})[std::size_t((first + i) % 4)]);
                for (const std::string& set : cpu::instruction_sets()) {
                    CAPTURE(set);
                    const RunOn on(1, set);
                    std::vector<float> numbers(count + 1, 99.0f);
                    cpu::normal_numbers(seed, purpose, 5, 9, first, count, numbers.data());
                    CHECK(std::memcmp(numbers.data(), expected.data(), count * sizeof(float)) == 0);
                    CHECK(numbers[count] == 99.0f);
                }
            }
}

TEST_CASE("noise differs between seeds, epochs and images, and its start does not depend on the count") {
    const std::vector<float> a = noise(1, 2, 3, 1000);
    CHECK(!same_bits(a, noise(2, 2, 3, 1000)));
    CHECK(!same_bits(a, noise(1ull << 32 | 1, 2, 3, 1000)));
    CHECK(!same_bits(a, noise(1, 3, 3, 1000)));
    CHECK(!same_bits(a, noise(1, 2, 4, 1000)));
    std::vector<float> longer = noise(1, 2, 3, 1777);
    longer.resize(1000);
    CHECK(same_bits(a, longer));
}

TEST_CASE("a million noise values are standard normal") {
    const int count = 1'000'000;
    std::vector<float> x = noise(42, 0, 0, count);
    double mean = 0, moment[5] = {}, neighbours = 0;
    for (const float v : x) mean += double(v) / count;
    for (int i = 0; i < count; ++i) {
        const double v = x[i] - mean;
        moment[2] += v * v / count;
        moment[3] += v * v * v / count;
        moment[4] += v * v * v * v / count;
        neighbours += v * (x[(i + 1) % count] - mean) / count;
    }
    // Each bound is four standard errors of the estimate; the numbers are fixed, so it holds for ever or
    // never.
    CHECK(std::abs(mean) < 4 / std::sqrt(count));
    CHECK(std::abs(moment[2] - 1) < 4 * std::sqrt(2.0 / count));
    CHECK(std::abs(moment[3] / std::pow(moment[2], 1.5)) < 4 * std::sqrt(6.0 / count));
    CHECK(std::abs(moment[4] / (moment[2] * moment[2]) - 3) < 4 * std::sqrt(24.0 / count));
    CHECK(std::abs(neighbours) < 4 / std::sqrt(count));
    for (const double z : {1.0, 2.0, 3.0, 4.0}) {
        CAPTURE(z);
        const double p = 2 * (1 - reference::normal_cdf(z));
        const auto outside = std::count_if(x.begin(), x.end(), [&](float v) { return std::abs(v) > z; });
        CHECK(std::abs(double(outside) / count - p) < 4 * std::sqrt(p * (1 - p) / count));
    }
    std::sort(x.begin(), x.end());
    double distance = 0;
    for (int i = 0; i < count; ++i) {
        const double p = reference::normal_cdf(x[i]);
        distance = std::max({distance, p - double(i) / count, double(i + 1) / count - p});
    }
    CHECK(distance < 1.63 / std::sqrt(count));  // Kolmogorov-Smirnov, 1 %
}
