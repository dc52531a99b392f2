// The colour map is a curve through CIE L*a*b* whose lightness L* rises evenly with the value, so that equal
// steps look equal and a grey print keeps their order.
#include "engine/figures/colours.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "engine/files/format.h"

namespace tvmap {
namespace {

constexpr double kDarkest = 6, kBrightest = 95;  // L*

/// a* and b* at equal distances along the map: blue, violet, red, orange, yellow.
constexpr std::array<std::array<double, 2>, 6> kHues{
    {{8, -22}, {36, -46}, {58, -14}, {50, 34}, {22, 62}, {-8, 44}}};

/// sRGB of an L*a*b* colour under the white point D65.
std::array<float, 3> srgb(double lightness, double a, double b) {
    const auto cube = [](double t) { return t > 6.0 / 29 ? t * t * t : 108.0 / 841 * (t - 4.0 / 29); };
    const double fy = (lightness + 16) / 116;
    const double x = 0.95047 * cube(fy + a / 500), y = cube(fy), z = 1.08883 * cube(fy - b / 200);
    const double linear[3] = {3.2404542 * x - 1.5371385 * y - 0.4985314 * z,
                              -0.9692660 * x + 1.8760108 * y + 0.0415560 * z,
                              0.0556434 * x - 0.2040259 * y + 1.0572252 * z};
    std::array<float, 3> out;
    for (int c = 0; c < 3; ++c) {
        const double light = std::clamp(linear[c], 0.0, 1.0);
        out[c] = float(light <= 0.0031308 ? 12.92 * light : 1.055 * std::pow(light, 1 / 2.4) - 0.055);
    }
    return out;
}

using Colours = std::array<std::array<float, 3>, 256>;

const Colours& colour_map() {
    static const Colours colours = [] {
        Colours table;
        for (std::size_t i = 0; i < table.size(); ++i) {
            const double t = double(i) / double(table.size() - 1), along = t * double(kHues.size() - 1);
            const std::size_t k = std::min(std::size_t(along), kHues.size() - 2);
            const double part = along - double(k);
            const auto mix = [&](int c) { return (1 - part) * kHues[k][c] + part * kHues[k + 1][c]; };
            table[i] = srgb(kDarkest + t * (kBrightest - kDarkest), mix(0), mix(1));
        }
        return table;
    }();
    return colours;
}

}  // namespace

Picture false_colour(const float* values, int height, int width, float from, float to) {
    Picture picture{height, width, 3, 8, {}};
    picture.values.resize(std::size_t(height) * width * 3);
    const Colours& colours = colour_map();
    const double scale = to > from ? double(colours.size() - 1) / (double(to) - from) : 0;
    for (std::size_t i = 0; i < std::size_t(height) * width; ++i) {
        // NaN fails the comparison and is drawn dark.
        const double place = values[i] > from ? std::min((double(values[i]) - from) * scale, 255.0) : 0;
        const auto& colour = colours[std::size_t(std::lround(place))];
        std::copy(colour.begin(), colour.end(), picture.values.begin() + std::ptrdiff_t(3 * i));
    }
    return picture;
}

Picture grey_picture(const float* values, int height, int width) {
    return {height, width, 1, 8, std::vector<float>(values, values + std::size_t(height) * width)};
}

std::string palette_command() {
    constexpr std::size_t stops = 33;  // between which gnuplot goes straight: less than a step of 8 bits away
    const Colours& colours = colour_map();
    std::string list;
    for (std::size_t i = 0; i < stops; ++i) {
        const auto& colour = colours[i * (colours.size() - 1) / (stops - 1)];
        list += format("%s %zu '#%02x%02x%02x'", i ? "," : "", i, unsigned(std::lround(255 * colour[0])),
                       unsigned(std::lround(255 * colour[1])), unsigned(std::lround(255 * colour[2])));
    }
    return "set palette defined (" + list + ")\n";
}

Span middle_span(std::vector<float> values, float least) {
    std::erase_if(values, [](float value) { return std::isnan(value); });
    if (values.empty()) return {least, least + 1};
    const std::size_t last = values.size() - 1, low = values.size() / 100, high = last - low;
    const auto at = [&](std::size_t place) {
        std::nth_element(values.begin(), values.begin() + std::ptrdiff_t(place), values.end());
        return double(std::max(values[place], least));
    };
    const double from = at(low), to = at(high);
    return {from, to > from ? to : from + std::max(1e-3 * std::abs(from), 1e-9)};
}

std::vector<double> linear_ticks(const Span& span) {
    const double least = (span.to - span.from) / 5, power = std::pow(10, std::floor(std::log10(least)));
    double step = 10 * power;
    for (const double digit : {5.0, 2.0, 1.0})
        if (digit * power >= least) step = digit * power;
    std::vector<double> ticks;
    for (double k = std::ceil(span.from / step - 1e-9); k * step <= span.to * (1 + 1e-9); ++k)
        ticks.push_back(k * step + 0.0);  // no −0
    if (ticks.size() > 5) ticks.pop_back();
    return ticks;
}

std::vector<double> logarithmic_ticks(const Span& span) {
    const std::vector<double> multiples[] = {
        {1}, {1, 2, 5}, {1, 2, 3, 5}, {1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9}};
    const double closest =
        std::log10(span.to / span.from) / 6;  // of the ticks' logarithms: room for their names
    std::vector<double> ticks;
    for (const std::vector<double>& digits : multiples) {
        ticks.clear();
        for (double power = std::floor(std::log10(span.from)); std::pow(10, power) <= span.to; ++power)
            for (const double digit : digits) {
                const double tick = digit * std::pow(10, power);
                const bool within = tick >= span.from && tick <= span.to;
                if (within && (ticks.empty() || std::log10(tick / ticks.back()) >= closest))
                    ticks.push_back(tick);
            }
        if (ticks.size() >= 3) return ticks;
    }
    return ticks.size() == 2 ? ticks : std::vector<double>{span.from, span.to};
}

}  // namespace tvmap
