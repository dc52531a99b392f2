#include "engine/figures/distribution.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace tvmap {
namespace {

constexpr double most_bins = 60;

/// The 1, 2 or 5 times a power of ten that is nearest to a positive width, by their ratio.
double round_width(double width) {
    const double power = std::pow(10, std::floor(std::log10(width))), digits = width / power;
    return power * (digits < std::sqrt(2.0)    ? 1
                    : digits < std::sqrt(10.0) ? 2
                    : digits < std::sqrt(50.0) ? 5
                                               : 10);
}

}  // namespace

double quantile(const std::vector<double>& sorted, double share) {
    const double place = share * double(sorted.size() - 1);
    const std::size_t below = std::size_t(place), above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] + (place - double(below)) * (sorted[above] - sorted[below]);
}

std::vector<Bin> histogram(const std::vector<double>& all) {
    std::vector<double> values;
    for (const double value : all)
        if (std::isfinite(value)) values.push_back(value);
    if (values.empty()) return {};
    std::sort(values.begin(), values.end());
    const double range = values.back() - values.front();
    double width = 2 * (quantile(values, 0.75) - quantile(values, 0.25)) / std::cbrt(double(values.size()));
    // Where most values are the same: as many bins as a usual sample has, or one about the only value.
    if (!(width > 0)) width = range > 0 ? range / 10 : std::max(std::abs(values.front()), 1e-9);
    width = round_width(std::max(width, range / most_bins));
    if (range / width > most_bins) width = round_width(2 * width);  // which was rounded down
    const double first = std::floor(values.front() / width), last = std::floor(values.back() / width);
    std::vector<Bin> bins;
    for (double edge = first; edge <= last; ++edge) bins.push_back({edge * width, (edge + 1) * width, 0});
    // By the edges themselves: value / width may round across one.
    for (const double value : values) {
        const auto above = std::upper_bound(bins.begin(), bins.end(), value,
                                            [](double v, const Bin& bin) { return v < bin.from; });
        ++(above == bins.begin() ? above : above - 1)->count;
    }
    return bins;
}

std::vector<Bin> histogram(const std::vector<float>& values, double from, double to, int count) {
    std::vector<Bin> bins;
    const double width = (to - from) / count;
    for (int b = 0; b < count; ++b) bins.push_back({from + b * width, from + (b + 1) * width, 0});
    for (const float value : values)
        if (!std::isnan(value))
            ++bins[std::size_t(
                       std::clamp(std::floor((double(value) - from) / width), 0.0, double(count - 1)))]
                  .count;
    return bins;
}

Box box(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    Box result;
    result.first_quartile = quantile(values, 0.25);
    result.median = quantile(values, 0.5);
    result.third_quartile = quantile(values, 0.75);
    const double reach = 1.5 * (result.third_quartile - result.first_quartile);
    // (Interpolated quartiles may lie a rounding beyond values that are all the same.)
    result.low = result.first_quartile, result.high = result.third_quartile;
    for (const double value : values) {
        if (value >= result.first_quartile - reach) result.low = std::min(result.low, value);
        if (value <= result.third_quartile + reach) result.high = std::max(result.high, value);
    }
    return result;
}

}  // namespace tvmap
