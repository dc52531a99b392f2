#include "engine/evaluation/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/training/random.h"

namespace tvmap {
namespace {

constexpr double none = std::numeric_limits<double>::quiet_NaN();

std::vector<double> finite(std::vector<double> values) {
    std::erase_if(values, [](double value) { return !std::isfinite(value); });
    return values;
}

/// Mean and its standard error.
struct Mean {
    double value = 0, error = 0;
};
Mean mean_of(const std::vector<double>& values) {
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    if (*least == *most) return {*least, 0};  // not what its sums round to
    double sum = 0, squares = 0;
    for (const double value : values) sum += value;
    const double count = double(values.size()), mean = sum / count;
    for (const double value : values) squares += (value - mean) * (value - mean);
    return {mean, std::sqrt(squares / (count - 1) / count)};
}

/// Random words for draw number `draw`, one after the other.
class Words {
  public:
    Words(Purpose purpose, int draw) : purpose_(purpose), draw_(std::uint32_t(draw)) {}
    std::uint32_t next() {
        if (at_ % 4 == 0) block_ = philox(0, {at_ / 4, draw_, 0, std::uint32_t(purpose_)});
        return block_[at_++ % 4];
    }

  private:
    Purpose purpose_;
    std::uint32_t draw_, at_ = 0;
    std::array<std::uint32_t, 4> block_{};
};

/// The smallest value that at least this share of the sorted ones does not exceed.
double quantile(const std::vector<double>& sorted, double share) {
    const double place = std::ceil(share * double(sorted.size())) - 1;
    return sorted[std::size_t(std::clamp(place, 0.0, double(sorted.size() - 1)))];
}

}  // namespace

Interval mean_interval(const std::vector<double>& all, double confidence, int draws) {
    const std::vector<double> values = finite(all);
    if (values.size() < 5) return {none, none};
    const Mean mean = mean_of(values);
    if (mean.error == 0) return {mean.value, mean.value};
    std::vector<double> resample(values.size()), t;
    for (int draw = 0; draw < draws; ++draw) {
        Words words(Purpose::bootstrap, draw);
        for (double& value : resample) value = values[std::uint64_t(words.next()) * values.size() >> 32];
        const Mean drawn = mean_of(resample);
        const double distance = drawn.value - mean.value;
        t.push_back(distance == 0 ? 0
                                  : distance / drawn.error);  // ±∞ where the same value was drawn throughout
    }
    std::sort(t.begin(), t.end());
    const double tail = (1 - confidence) / 2;
    const Interval interval{mean.value - quantile(t, 1 - tail) * mean.error,
                            mean.value - quantile(t, tail) * mean.error};
    return std::isfinite(interval.low) && std::isfinite(interval.high) ? interval : Interval{none, none};
}

double sign_flip_p(const std::vector<double>& differences, int draws) {
    const std::vector<double> values = finite(differences);
    if (values.empty()) return none;
    double seen = 0, size = 0;
    for (const double value : values) {
        seen += value;
        size += std::abs(value);
    }
    const double bound = std::abs(seen) - 1e-12 * size;  // sums of other orders round otherwise
    const std::size_t count = values.size();
    if (count <= 16) {
        const std::uint32_t flips = 1u << count;
        std::uint32_t far = 0;
        for (std::uint32_t signs = 0; signs < flips; ++signs) {
            double sum = 0;
            for (std::size_t i = 0; i < count; ++i) sum += (signs >> i & 1) ? -values[i] : values[i];
            far += std::abs(sum) >= bound;
        }
        return double(far) / flips;
    }
    int far = 1;
    for (int draw = 0; draw < draws; ++draw) {
        Words words(Purpose::permutation, draw);
        double sum = 0;
        for (std::size_t i = 0; i < count; i += 32) {
            std::uint32_t signs = words.next();
            for (std::size_t k = i; k < std::min(count, i + 32); ++k, signs >>= 1)
                sum += (signs & 1) ? -values[k] : values[k];
        }
        far += std::abs(sum) >= bound;
    }
    return double(far) / (draws + 1);
}

}  // namespace tvmap
