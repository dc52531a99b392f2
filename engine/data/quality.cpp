#include "engine/data/quality.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/error.h"

namespace tvmap {

Statistic statistic(const std::vector<double>& values) {
    double sum = 0, squares = 0;
    int count = 0;
    for (const double value : values)
        if (std::isfinite(value)) {
            sum += value;
            ++count;
        }
    if (count == 0)
        return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
    const double mean = sum / count;
    for (const double value : values)
        if (std::isfinite(value)) squares += (value - mean) * (value - mean);
    return {mean, count > 1 ? std::sqrt(squares / (count - 1)) : 0};
}

bool belongs_in_means(std::initializer_list<Quality> results) {
    return std::all_of(results.begin(), results.end(),
                       [](const Quality& q) { return std::isfinite(q.psnr); });
}

Quality mean_quality(const std::vector<Quality>& qualities) {
    Quality mean;
    for (const auto measure : {&Quality::psnr, &Quality::ssim, &Quality::ssim_uniform}) {
        std::vector<double> values;
        for (const Quality& q : qualities) values.push_back(q.*measure);
        mean.*measure = statistic(values).mean;
    }
    return mean;
}

std::string left_out_of_means(const std::vector<std::string>& names) {
    constexpr std::size_t named = 5;
    if (names.empty()) return "";
    std::string line =
        "left out of the means, since a result equals the clean image (as a blank image's does) "
        "and its PSNR is no finite number: ";
    for (std::size_t i = 0; i < std::min(names.size(), named); ++i) line += (i ? ", " : "") + names[i];
    if (names.size() > named) line += text(" and ", names.size() - named, " more");
    return line;
}

}  // namespace tvmap
