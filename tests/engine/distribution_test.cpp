// Histograms and boxes against plain counting and sorting.
#include "engine/figures/distribution.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using tvmap::Bin;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(),
                 none = std::numeric_limits<double>::quiet_NaN();

/// Each value is in exactly one bin, bins meet, 0 is an edge or outside, and there are no more than 61 of them (an edge at
/// 0 may cost one).
void check_bins(const std::vector<double>& values) {
    const std::vector<Bin> bins = tvmap::histogram(values);
    REQUIRE(!bins.empty());
    CHECK(bins.size() <= 61);
    int finite = 0;
    for (const double value : values) finite += std::isfinite(value);
    int counted = 0;
    for (std::size_t b = 0; b < bins.size(); ++b) {
        CAPTURE(b);
        int within = 0;
        for (const double value : values) within += value >= bins[b].from && value < bins[b].to;
        CHECK(bins[b].count == within);
        if (b > 0) CHECK(bins[b].from == bins[b - 1].to);
        CHECK((bins[b].from >= 0 || bins[b].to <= 0));
        counted += bins[b].count;
    }
    CHECK(counted == finite);
    CHECK(bins.front().count > 0);
    CHECK(bins.back().count > 0);
    const double width = bins[0].to - bins[0].from,
                 digits = width / std::pow(10, std::floor(std::log10(width * (1 + 1e-9))));
    CHECK(std::min({std::abs(digits - 1), std::abs(digits - 2), std::abs(digits - 5)}) < 1e-6);
}

}  // namespace

TEST_CASE("quantiles are NumPy's") {
    // numpy.quantile([1, 2, 4, 8, 16], [0, 0.1, 0.25, 0.5, 0.9, 1])
    const std::vector<double> values{1, 2, 4, 8, 16};
    const double shares[] = {0, 0.1, 0.25, 0.5, 0.9, 1}, quantiles[] = {1, 1.4, 2, 4, 12.8, 16};
    for (int i = 0; i < 6; ++i)
        CHECK(tvmap::quantile(values, shares[i]) == doctest::Approx(quantiles[i]).epsilon(1e-14));
    CHECK(tvmap::quantile({7}, 0.3) == 7);
}

TEST_CASE("a box ends at the farthest values within one and a half of its heights") {
    const tvmap::Box b = tvmap::box({30, 1, 3, 4, 2, 5, -20});
    // Sorted: -20 1 2 3 4 5 30; quartiles 1.5, 3, 4.5; the fences lie at -3 and 9.
    CHECK(b.first_quartile == 1.5);
    CHECK(b.median == 3);
    CHECK(b.third_quartile == 4.5);
    CHECK(b.low == 1);
    CHECK(b.high == 5);
    CHECK((b.within(1) && b.within(5) && !b.within(30) && !b.within(-20)));
    const tvmap::Box flat = tvmap::box({2, 2, 2});
    CHECK((flat.low == 2 && flat.median == 2 && flat.high == 2));
}

TEST_CASE("every finite value is in one bin, whatever the values") {
    std::mt19937 random(1);
    for (const double scale : {1.0, 1e-7, 1e5})
        for (const int count : {2, 5, 100, 3000}) {
            CAPTURE(scale);
            CAPTURE(count);
            std::normal_distribution<double> draw(0.7 * scale, scale);
            std::vector<double> values;
            for (int i = 0; i < count; ++i) values.push_back(draw(random));
            check_bins(values);
            values.push_back(none);
            values.push_back(inf);
            check_bins(values);
            values.push_back(1000 * scale);  // far out: bins widen
            check_bins(values);
        }
    check_bins(
        {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9});  // edges themselves, which decimals do not hold
    check_bins({0, 0, 0, 0, 5});
    check_bins({-1, -1, -1});
    check_bins({0});
    CHECK(tvmap::histogram(std::vector<double>{}).empty());
    CHECK(tvmap::histogram(std::vector<double>{none, inf}).empty());
}

TEST_CASE("given bins: values outside belong to the outer ones, NaN to none") {
    const std::vector<float> values{-5,    0, 0.24f, 0.25f,
                                    0.99f, 1, 7,     std::numeric_limits<float>::quiet_NaN()};
    const std::vector<Bin> bins = tvmap::histogram(values, 0, 1, 4);
    REQUIRE(bins.size() == 4);
    CHECK(bins[1].from == 0.25);
    const int counts[] = {3, 1, 0, 3};
    for (int b = 0; b < 4; ++b) CHECK(bins[b].count == counts[b]);
}
