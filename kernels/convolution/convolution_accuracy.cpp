#include "kernels/convolution/convolution_accuracy.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace tvmap::cuda {
namespace {

// Prime, so that no row, plane or image of a tensor repeats another.
constexpr std::size_t pattern_length = 65521;
// A weight's gradient is a sum over all pixels of a batch, so few of them have to do.
constexpr int feature_entries = 64, weight_entries = 16;

// A linear congruential generator: any numbers do that are not round.
class Draws {
  public:
    std::uint32_t operator()() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return std::uint32_t(state_ >> 33);
    }

  private:
    std::uint64_t state_ = 42;
};

float to_bfloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return std::bit_cast<float>((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
}

// Where elements of the pass's tensors lie: see PassProblem.
class Places {
  public:
    explicit Places(const PassProblem& problem) : problem_(problem) {}

    std::int64_t feature(const Features& f, int n, int c, int i, int j) const {
        if (problem_.precision == Precision::bf16) return ((std::int64_t(n) * f.h + i) * f.w + j) * f.c + c;
        return n * f.image_stride + (std::int64_t(c) * f.h + i) * f.w + j;
    }
    std::int64_t weight(int o, int c, int u, int v) const {
        const std::int64_t k = problem_.kernel, inputs = problem_.x.c;
        if (problem_.precision == Precision::bf16) return ((o * k + u) * k + v) * inputs + c;
        return ((o * inputs + c) * k + u) * k + v;
    }

  private:
    const PassProblem& problem_;
};

// Calls visit(i of the other side, j, u, v) for the weights that join pixel (i, j) of y, or of x where
// `from_x`, to pixels of the other.
template <class Visit>
void for_each_tap(const PassProblem& problem, int i, int j, bool from_x, const Visit& visit) {
    const int k = problem.kernel, sign = from_x ? -1 : 1;
    for (int u = 0; u < k; ++u)
        for (int v = 0; v < k; ++v) {
            const int row = i + sign * (u - k / 2), column = j + sign * (v - k / 2);
            if (row >= 0 && row < problem.x.h && column >= 0 && column < problem.x.w)
                visit(row, column, u, v);
        }
}

}  // namespace

MadeUpNumbers::MadeUpNumbers(Precision precision) : values_(pattern_length) {
    const bool narrow = precision == Precision::bf16;
    const std::size_t width = narrow ? sizeof(std::uint16_t) : sizeof(float);
    // An even number of bfloat16, so that the pattern fills whole floats: twice the values.
    bits_.resize((narrow ? 2 : 1) * pattern_length * width);
    Draws draw;
    for (std::size_t k = 0; k < pattern_length; ++k) {
        float value = float(std::int32_t(draw() & 0xffffff) - 0x800000 + 0.5) / float(0x800000);
        if (narrow) value = to_bfloat16(value);
        values_[k] = value;
        const auto word = std::bit_cast<std::uint32_t>(value);
        const auto half = std::uint16_t(word >> 16);
        const void* const source = narrow ? static_cast<const void*>(&half) : &word;
        for (std::size_t place = k * width; place < bits_.size(); place += pattern_length * width)
            std::memcpy(bits_.data() + place, source, width);
    }
}

double ExactEntries::relative_error(const std::vector<double>& found) const {
    double error = 0, norm = 0;
    for (std::size_t k = 0; k < values.size(); ++k) {
        if (!std::isfinite(found[k])) return std::numeric_limits<double>::infinity();
        error += (found[k] - values[k]) * (found[k] - values[k]);
        norm += values[k] * values[k];
    }
    return std::sqrt(error / norm);
}

ExactEntries exact_entries(const PassProblem& problem, const MadeUpNumbers& numbers) {
    const Features &x = problem.x, &y = problem.y;
    const Places places(problem);
    ExactEntries entries;
    Draws draw;
    const auto below = [&](int n) { return int(draw() % std::uint32_t(n)); };
    const auto add = [&](std::int64_t place, double value) {
        entries.places.push_back(place);
        entries.values.push_back(value);
    };
    const bool weights = problem.direction == Direction::weights;
    for (int entry = 0; entry < (weights ? weight_entries : feature_entries); ++entry) {
        const int n = below(x.n), o = below(y.c), c = below(x.c), i = below(y.h), j = below(y.w);
        double sum = 0;
        switch (problem.direction) {
            case Direction::forward:
                for (int from = 0; from < x.c; ++from)
                    for_each_tap(problem, i, j, false, [&](int row, int column, int u, int v) {
                        sum += numbers[places.feature(x, n, from, row, column)] *
                               numbers[places.weight(o, from, u, v)];
                    });
                if (problem.activates) {
                    sum += numbers[o];
                    sum = sum > 0 ? sum : double(problem.slope) * sum;
                }
                add(places.feature(y, n, o, i, j), sum);
                break;
            case Direction::data:
                for (int from = 0; from < y.c; ++from)
                    for_each_tap(problem, i, j, true, [&](int row, int column, int u, int v) {
                        sum += numbers[places.feature(y, n, from, row, column)] *
                               numbers[places.weight(from, c, u, v)];
                    });
                if (problem.adds) sum += numbers[places.feature(x, n, c, i, j)];
                add(places.feature(x, n, c, i, j), sum);
                break;
            case Direction::weights: {
                const int u = below(problem.kernel), v = below(problem.kernel);
                const int down = u - problem.kernel / 2, right = v - problem.kernel / 2;
                for (int image = 0; image < x.n; ++image)
                    for (int row = std::max(0, -down); row < std::min(y.h, y.h - down); ++row)
                        for (int column = std::max(0, -right); column < std::min(y.w, y.w - right); ++column)
                            sum += numbers[places.feature(x, image, c, row + down, column + right)] *
                                   numbers[places.feature(y, image, o, row, column)];
                add(places.weight(o, c, u, v), sum);
                break;
            }
        }
    }
    return entries;
}

double most_error(Precision precision) {
    switch (precision) {
        case Precision::fp32:
            return 1e-5;
        case Precision::tf32:
            return 1e-3;
        case Precision::bf16:
            break;
    }
    return 5e-3;
}

}  // namespace tvmap::cuda
