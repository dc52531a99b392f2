#include "apps/commands/text_curve.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tvmap {

std::string text_curve(const std::vector<double>& values, int columns) {
    static const char* const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    if (values.size() < 2) return "";
    const std::size_t count = std::min(values.size(), std::size_t(columns));
    std::vector<double> means;
    for (std::size_t c = 0; c < count; ++c) {
        const auto first = values.begin() + std::ptrdiff_t(c * values.size() / count),
                   last = values.begin() + std::ptrdiff_t((c + 1) * values.size() / count);
        means.push_back(std::accumulate(first, last, 0.0) / double(last - first));
    }
    const auto [low, high] = std::minmax_element(means.begin(), means.end());
    const double range = *high - *low;
    std::string curve;
    for (const double mean : means) curve += bars[range > 0 ? std::lround(7 * (mean - *low) / range) : 0];
    return curve;
}

}  // namespace tvmap
