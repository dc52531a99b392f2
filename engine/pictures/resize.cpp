// Pictures as the network takes them: grey, centre-cropped, resized.
//
// Resizing is separable. Output sample i of n' from n input samples, with s = n / n' and f = max(s, 1):
//     centre = (i + ½)·s,  y_i = Σ_j w_j x_j / Σ_j w_j
//     w_j = k((j + ½ − centre) / f),  |j + ½ − centre| < 2f
// with Keys' cubic k for a = −½. Widening the kernel by f when shrinking is the antialiasing.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "engine/pictures/image.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

double keys_cubic(double x) {
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return ((x - 5) * x + 8) * x * a - 4 * a;
    return 0;
}

/// For every output sample the first input sample it reads and the weights from there on.
struct Filter {
    struct Tap {
        int first = 0;
        std::vector<double> weights;
    };
    std::vector<Tap> taps;

    Filter(int input, int output) : taps(std::size_t(output)) {
        const double scale = double(input) / output;
        const double widening = std::max(scale, 1.0);
        const double support = 2 * widening;
        for (int i = 0; i < output; ++i) {
            const double centre = (i + 0.5) * scale;
            Tap& tap = taps[i];
            tap.first = std::max(int(std::floor(centre - support + 0.5)), 0);
            const int end = std::min(int(std::floor(centre + support + 0.5)), input);
            double sum = 0;
            for (int j = tap.first; j < end; ++j) {
                tap.weights.push_back(keys_cubic((j + 0.5 - centre) / widening));
                sum += tap.weights.back();
            }
            for (double& weight : tap.weights) weight /= sum;
        }
    }
};

}  // namespace

// In place, like the crop: a picture may be large.
Picture to_grey(Picture picture) {
    if (picture.channels == 1) return picture;
    const std::size_t pixels = std::size_t(picture.height) * picture.width;
    for (std::size_t i = 0; i < pixels; ++i) {
        const float* rgb = picture.values.data() + 3 * i;
        picture.values[i] = 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2];
    }
    picture.channels = 1;
    picture.values.resize(pixels);
    return picture;
}

Picture centre_crop(Picture picture, int height, int width) {
    const int top = (picture.height - height) / 2, left = (picture.width - width) / 2;
    const std::size_t row = std::size_t(width) * picture.channels;
    for (int i = 0; i < height; ++i) {
        const std::size_t from = (std::size_t(top + i) * picture.width + left) * picture.channels;
        if (from != i * row)
            std::copy_n(picture.values.begin() + std::ptrdiff_t(from), row,
                        picture.values.begin() + std::ptrdiff_t(i * row));
    }
    picture.height = height;
    picture.width = width;
    picture.values.resize(row * height);
    return picture;
}

Picture centre_crop(Picture picture) {
    const int side = std::min(picture.height, picture.width);
    return centre_crop(std::move(picture), side, side);
}

Picture resize_bicubic(const Picture& picture, int height, int width) {
    if (height < 1 || width < 1 || picture.height < 1 || picture.width < 1)
        fail("cannot resize ", picture.height, "×", picture.width, " pixels to ", height, "×", width,
             "; choose sides of at least 1");
    if (height == picture.height && width == picture.width) return picture;
    const int channels = picture.channels;

    const Filter across(picture.width, width);
    const std::size_t narrow_row = std::size_t(width) * channels;
    std::vector<float> narrow(narrow_row * picture.height);
    for (int i = 0; i < picture.height; ++i)
        for (int j = 0; j < width; ++j) {
            const Filter::Tap& tap = across.taps[j];
            const float* in = picture.values.data() + (std::size_t(i) * picture.width + tap.first) * channels;
            for (int c = 0; c < channels; ++c) {
                double sum = 0;
                for (std::size_t k = 0; k < tap.weights.size(); ++k)
                    sum += tap.weights[k] * in[k * channels + c];
                narrow[i * narrow_row + std::size_t(j) * channels + c] = float(sum);
            }
        }

    const Filter down(picture.height, height);
    Picture resized{height, width, channels, picture.bits, std::vector<float>(narrow_row * height)};
    std::vector<double> sums(narrow_row);
    for (int i = 0; i < height; ++i) {
        const Filter::Tap& tap = down.taps[i];
        std::fill(sums.begin(), sums.end(), 0.0);
        for (std::size_t k = 0; k < tap.weights.size(); ++k) {
            const float* in = narrow.data() + (tap.first + k) * narrow_row;
            for (std::size_t j = 0; j < narrow_row; ++j) sums[j] += tap.weights[k] * in[j];
        }
        std::transform(sums.begin(), sums.end(), resized.values.begin() + std::ptrdiff_t(i * narrow_row),
                       [](double sum) { return float(sum); });
    }
    return resized;
}

namespace {

/// Clamped to [0, 1] and rounded to the picture's bit depth, 16 where it has more.
Picture in_levels(Picture picture) {
    picture.bits = std::min(picture.bits, 16);
    const float levels = picture.bits == 16 ? 65535.0f : 255.0f;
    for (float& value : picture.values)
        value = std::floor(std::clamp(value, 0.0f, 1.0f) * levels + 0.5f) / levels;
    return picture;
}

}  // namespace

Picture prepare(Picture picture, int size) {
    return in_levels(resize_bicubic(centre_crop(to_grey(std::move(picture))), size, size));
}

Picture prepare_unresized(Picture picture, int size) {
    picture = to_grey(std::move(picture));
    return in_levels(size > 0 ? centre_crop(std::move(picture), size, size) : std::move(picture));
}

void check_unit_range(const std::string& path, const Picture& picture) {
    constexpr float beyond = 0.1f;
    if (!picture.real || picture.values.empty()) return;
    const auto [least, most] = std::minmax_element(picture.values.begin(), picture.values.end());
    if (*least < -beyond || *most > 1 + beyond)
        fail(path, ": values from ", *least, " to ", *most,
             " where 0 to 1 are needed; divide them by their white");
}

}  // namespace tvmap
