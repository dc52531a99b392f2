// Intervals and permutation tests: cases that can be counted by hand, Student's interval, and how often the truth is
// covered.
#include "engine/evaluation/statistics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

using namespace tvmap;

TEST_CASE("an interval is the same every time, moves with the values and scales with them") {
    const std::vector<double> values{0.3, 1.1, 0.8, 1.9, 0.2, 0.9, 1.4};
    const Interval interval = mean_interval(values), again = mean_interval(values);
    CHECK(interval.low == again.low);
    CHECK(interval.high == again.high);
    std::vector<double> moved;
    for (const double value : values) moved.push_back(-2 * value + 5);
    const Interval mirrored = mean_interval(moved);
    CHECK(mirrored.low == doctest::Approx(5 - 2 * interval.high).epsilon(2e-2));
    CHECK(mirrored.high == doctest::Approx(5 - 2 * interval.low).epsilon(2e-2));
    CHECK(mean_interval(values, 0.5).low > interval.low);
}

TEST_CASE("of many normal values it is Student's") {
    std::mt19937 generator(1);
    std::normal_distribution<double> normal(3, 2);
    std::vector<double> values(100);
    double sum = 0, squares = 0;
    for (double& value : values) sum += value = normal(generator);
    const double mean = sum / 100;
    for (const double value : values) squares += (value - mean) * (value - mean);
    const double error = std::sqrt(squares / 99 / 100);
    const Interval interval = mean_interval(values);
    // 1.984 is Student's quantile for 99 degrees of freedom. That of 10,000 draws is off by some 1.5 %
    // (√(0.025·0.975/10⁴) over a density of 0.06), and follows the sample's own skewness by a few more.
    CHECK(interval.low == doctest::Approx(mean - 1.984 * error).epsilon(0.08 * error / mean));
    CHECK(interval.high == doctest::Approx(mean + 1.984 * error).epsilon(0.08 * error / mean));
}

TEST_CASE("it covers the truth as often as it says, for normal and for skewed values") {
    // 2,000 samples: one standard deviation of the share is 0.5 %. Of an exponential distribution's 20 values Student's
    // interval covers 92 %.
    std::mt19937 generator(7);
    std::normal_distribution<double> normal(1, 1);
    std::exponential_distribution<double> skewed(1);
    const auto covered = [&](auto& distribution, int count) {
        int hits = 0;
        for (int sample = 0; sample < 2000; ++sample) {
            std::vector<double> values(static_cast<std::size_t>(count));
            for (double& value : values) value = distribution(generator);
            const Interval interval = mean_interval(values, 0.95, 1000);
            hits += interval.low <= 1 && 1 <= interval.high;
        }
        return hits / 2000.0;
    };
    for (const double share : {covered(normal, 16), covered(normal, 60), covered(skewed, 60)}) {
        CHECK(share > 0.93);
        CHECK(share < 0.97);
    }
}

TEST_CASE("too few values, and values that are all the same") {
    CHECK(std::isnan(mean_interval({1, 2, 3, 4}).low));
    CHECK(std::isnan(mean_interval({}).high));
    CHECK(mean_interval({2, 2, 2, 2, 2}).low == 2);
    CHECK(mean_interval({2, 2, 2, 2, 2}).high == 2);
    const double infinite = std::numeric_limits<double>::infinity();
    CHECK(mean_interval({1, 2, 3, 4, 5, infinite}).high == mean_interval({1, 2, 3, 4, 5}).high);
}

TEST_CASE("values on a grid, nearly all the same: an interval of finite ends, or none") {
    for (const int others : {1, 2}) {
        CAPTURE(others);
        std::vector<double> values(9, 0.1);
        for (int i = 0; i < others; ++i) values[std::size_t(i)] = 0.05;
        const Interval interval = mean_interval(values);
        CHECK(std::isnan(interval.low) == std::isnan(interval.high));
        if (std::isnan(interval.low)) continue;
        CHECK(interval.low > -1);
        CHECK(interval.high < 1);
    }
}

TEST_CASE("sign flips: counted by hand, and drawn where there are too many to count") {
    CHECK(sign_flip_p({1, 2, 3}) == 2.0 / 8);        // +++ and ---
    CHECK(sign_flip_p({1, 2, -3}) == 1);             // the sum is 0
    CHECK(sign_flip_p({1, 1, 1, -1}) == 10.0 / 16);  // |sum| of at least 2: all but the six balanced ones
    CHECK(sign_flip_p({0.1, 0.2, 0.3}) == 2.0 / 8);  // sums that are equal but for rounding
    CHECK(std::isnan(sign_flip_p({})));
    CHECK(sign_flip_p(std::vector<double>(40, 0.5)) == 1e-4);
    std::vector<double> none, some;
    for (int i = 0; i < 20; ++i) none.push_back(i % 2 ? 1 : -1), some.push_back(i < 15 ? 1 : -1);
    CHECK(sign_flip_p(none) == 1);
    // At least 15 heads or tails of 20: 0.04139. One standard deviation of 9,999 draws is 0.002.
    CHECK(sign_flip_p(some) == doctest::Approx(0.04139).epsilon(0.2));
}
