// Counted photons against probabilities that are added up by their definition, and the weights of pixels against
// plain loops.
#include "engine/data/counts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <vector>

#include "engine/config/config.h"
#include "engine/data/observation.h"

using namespace tvmap;

namespace {

/// P(k) = e^−μ μ^k / k!, by its recursion.
double probability(double mean, int k) {
    double value = std::exp(-mean);
    for (int i = 1; i <= k; ++i) value *= mean / i;
    return value;
}

}  // namespace

TEST_CASE("as many of 100,000 equally spaced numbers give a count as its probability says") {
    constexpr int draws = 100000;
    for (const double mean : {0.0, 0.01, 0.7, 1.0, 3.4, 20.0, 137.5}) {
        CAPTURE(mean);
        std::map<std::int64_t, int> found;
        for (int i = 0; i < draws; ++i) ++found[poisson_number(mean, (i + 0.5) / draws)];
        // A count owns one interval of u, so it is met as often as it should be, give or take one.
        for (int k = 0; k < 400; ++k)
            CHECK(std::abs(found[k] - draws * probability(mean, k)) <= 1 + 1e-6 * draws);
    }
}

TEST_CASE("of many counts, and where u is as large as it gets") {
    double sum = 0, squares = 0;
    constexpr int draws = 20000;
    for (int i = 0; i < draws; ++i) {
        const double value = double(poisson_number(1e5, (i + 0.5) / draws));
        sum += value, squares += value * value;
    }
    const double mean = sum / draws, variance = squares / draws - mean * mean;
    // Equally spaced u leave out what lies beyond 4.1 standard deviations, 4e-4 of the variance.
    CHECK(mean == doctest::Approx(1e5).epsilon(1e-5));
    CHECK(variance == doctest::Approx(1e5).epsilon(2e-3));
    for (const double most : {1e-9, 0.5, 12.0, 1e5}) {
        const std::int64_t last = poisson_number(most, std::nextafter(1.0, 0.0));
        CHECK(last >= 0);
        CHECK(double(last) < most + 40 * std::sqrt(most) + 40);
    }
}

TEST_CASE("pixels weigh by the noise around them") {
    constexpr int height = 9, width = 14;
    std::vector<float> image(height * width), weights(image.size());
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j)
            image[std::size_t(i * width + j)] = j < 7 ? 0.8f + 0.01f * float(i) : j < 12 ? 0.3f : -0.1f;
    for (const CountNoise noise : {CountNoise{0.02f, 0.1f}, {0.05f, 0.0f}}) {
        CAPTURE(noise.gain);
        count_weights(noise, image.data(), height, width, weights.data());
        std::vector<double> precision;
        double mean = 0;
        for (int i = 0; i < height; ++i)
            for (int j = 0; j < width; ++j) {
                double sum = 0, pixels = 0;
                for (int a = i - 2; a <= i + 2; ++a)
                    for (int b = j - 2; b <= j + 2; ++b)
                        if (a >= 0 && b >= 0 && a < height && b < width)
                            sum += image[std::size_t(a * width + b)], pixels += 1;
                const double level = std::max(sum / pixels, double(noise.gain));
                precision.push_back(1 / (noise.gain * level + std::pow(double(noise.deviation), 2)));
                mean += precision.back() / (height * width);
            }
        bool cut = false;
        for (std::size_t i = 0; i < precision.size(); ++i) {
            CHECK(weights[i] == doctest::Approx(std::min(precision[i] / mean, most_weight)).epsilon(1e-6));
            cut = cut || weights[i] == float(most_weight);
        }
        CHECK(cut == (noise.deviation == 0));
    }
}

TEST_CASE("an image of counts has the mean and the variance that it should have") {
    constexpr int height = 64, width = 64, pixels = height * width;
    for (const Range gain : {Range{0.02, 0.02}, Range{0.01, 0.05}}) {
        const Observer observer({.sight = Sight::poisson, .gain = gain});
        REQUIRE(observer.weighs());
        for (const float value : {0.0f, 0.1f, 0.75f}) {
            CAPTURE(value);
            std::vector<float> clean(pixels, value), image(clean), weights(pixels);
            observer.observe(5, 3, 11, height, width, 0.0f, clean.data(), image.data(), weights.data());
            double mean = 0, square = 0, least = 1;
            for (const float seen : image) {
                mean += seen / double(pixels);
                square += double(seen) * seen / pixels;
                if (seen > 0) least = std::min(least, double(seen));
            }
            const double variance = square - mean * mean;
            // Five standard deviations of a mean and of a variance of 4,096 values (kurtosis below 3.5).
            CHECK(std::abs(mean - value) <= 5 * std::sqrt(gain.to * value / pixels));
            if (gain.fixed())
                CHECK(std::abs(variance - gain.from * value) <=
                      5 * gain.from * value * std::sqrt(2.5 / pixels));
            else if (value > 0)
                CHECK((variance > 0.8 * gain.from * value && variance < 1.2 * gain.to * value));
            std::vector<float> again(clean), other(clean);
            observer.observe(5, 3, 11, height, width, 0.0f, clean.data(), again.data(), weights.data());
            observer.observe(5, 4, 11, height, width, 0.0f, clean.data(), other.data(), weights.data());
            CHECK((again == image));
            CHECK((value == 0) == (other == image));
        }
    }
}
