// Upsampling of windows of a larger image, on the CPU and on CUDA: what the upsampling of the whole has there.
#include <doctest/doctest.h>

#include "kernels/base/error.h"
#include "kernels/layers/upsample.h"
#include "tests/kernels/layer_case.h"
#include "tests/support/device_buffer.h"
#include "tests/support/feature_buffer.h"

using namespace tvmap;
using namespace layer_case;

namespace {

/// Windows of h×w in wholes of height×width, one an image, all at once; `units`: what they are given in, times a place.
struct Windows {
    int c, height, width, h, w, units;
    std::vector<std::pair<int, int>> corners;

    int count() const { return int(corners.size()); }

    /// Of N×C×(factor·height)×(factor·width) values, the N windows of factor·h×factor·w.
    Array cut(const Array& whole, int factor) const {
        Array values;
        const int columns = factor * width;
        for (int n = 0; n < count(); ++n)
            for (int plane = n * c; plane < (n + 1) * c; ++plane)
                for (int i = 0; i < factor * h; ++i)
                    for (int j = 0; j < factor * w; ++j)
                        values.push_back(
                            whole[(std::size_t(plane) * factor * height + factor * corners[n].first + i) *
                                      columns +
                                  factor * corners[n].second + j]);
        return values;
    }
    Array parameters() const {
        Array values;
        for (const auto& [row, column] : corners)
            for (const int v : {row, column, height, width}) values.push_back(v * units);
        return values;
    }
    /// `expected` where windows hold all that is interpolated, `found` in the outermost rows and columns that are not
    /// the whole's.
    Array known(Array expected, const Array& found) const {
        for (int n = 0; n < count(); ++n) {
            const auto [row, column] = corners[n];
            const bool top = row > 0, bottom = row + h<height, left = column> 0, right = column + w < width;
            for (int plane = n * c; plane < (n + 1) * c; ++plane)
                for (int i = 0; i < 2 * h; ++i)
                    for (int j = 0; j < 2 * w; ++j)
                        if ((top && i == 0) || (bottom && i == 2 * h - 1) || (left && j == 0) ||
                            (right && j == 2 * w - 1)) {
                            const std::size_t at = (std::size_t(plane) * 2 * h + i) * 2 * w + j;
                            expected[at] = found[at];
                        }
        }
        return expected;
    }
};

// In the corners and the middle; as wide as the whole, and all of it; wider than the vectors; odd.
const Windows cases[] = {{3, 9, 11, 4, 5, 1, {{0, 0}, {5, 6}, {2, 3}}},
                         {2, 40, 130, 20, 70, 8, {{0, 60}, {20, 0}, {13, 31}}},
                         {1, 6, 7, 3, 7, 2, {{0, 0}, {3, 0}}},
                         {16, 5, 40, 5, 36, 4, {{0, 0}, {0, 4}, {0, 1}}},
                         {2, 7, 6, 7, 6, 1, {{0, 0}}},
                         {1, 300, 3, 2, 1, 1, {{298, 2}, {0, 0}, {150, 1}}}};

// As upsampling's in cuda_layers_test.cpp.
constexpr double tolerance = 6e-7;

template <class Body>
void for_each_windows(const Body& body) {
    for (const Windows& k : cases) {
        CAPTURE(k.height);
        CAPTURE(k.width);
        const Array whole = random_values(std::int64_t(k.count()) * k.c * k.height * k.width, 3);
        body(k, whole, k.cut(reference::upsample(whole, k.count() * k.c, k.height, k.width), 2));
    }
}

}  // namespace

TEST_CASE("an upsampled window is the window of the upsampled whole, on the CPU in any blocks") {
    for_each_windows([](const Windows& k, const Array& whole, const Array& expected) {
        for (const int block : {1, 8, 16}) {
            if (k.c % block != 0) continue;
            CAPTURE(block);
            const FeatureBuffer x(k.count(), k.c, k.h, k.w, block, block, k.cut(whole, 1)),
                windows(k.count(), 4, 1, 1, 1, 0, k.parameters());
            FeatureBuffer y(k.count(), k.c, 2 * k.h, 2 * k.w, block, 2 * block);
            cpu::upsample_window_forward(x.view(), windows.view(), 1.0f / float(k.units), y.view());
            CHECK(largest_difference(y.get(), k.known(expected, y.get())) < tolerance);
            CHECK(y.intact());
        }
    });
}

TEST_CASE("an upsampled window is the window of the upsampled whole, on CUDA") {
    for_each_windows([](const Windows& k, const Array& whole, const Array& expected) {
        for (const int offset : {0, 3}) {
            DeviceFeatures x(k.count(), k.c, k.h, k.w, 1, k.cut(whole, 1), offset),
                windows(k.count(), 4, 1, 1, 0, k.parameters(), offset);
            DeviceFeatures y(k.count(), k.c, 2 * k.h, 2 * k.w, 2, offset);
            cuda::upsample_window_forward(test_stream(), x.view(), windows.view(), 1.0f / float(k.units),
                                          y.view());
            CHECK(largest_difference(y.get(), k.known(expected, y.get())) < tolerance);
            CHECK(y.intact());
        }
    });
}

TEST_CASE("a window that is the whole is upsampled to the same bits") {
    const int h = 13, w = 37;
    const Array values = random_values(2 * h * w, 5), parameters{0, 0, h, w};
    const FeatureBuffer x(1, 2, h, w, 1, 0, values), window(1, 4, 1, 1, 1, 0, parameters);
    FeatureBuffer plain(1, 2, 2 * h, 2 * w, 1), windowed(1, 2, 2 * h, 2 * w, 1);
    cpu::upsample_forward(x.view(), plain.view());
    cpu::upsample_window_forward(x.view(), window.view(), 1.0f, windowed.view());
    CHECK(windowed.get() == plain.get());

    DeviceFeatures on_x(1, 2, h, w, 0, values), on_window(1, 4, 1, 1, 0, parameters);
    DeviceFeatures on_plain(1, 2, 2 * h, 2 * w), on_windowed(1, 2, 2 * h, 2 * w);
    cuda::upsample_forward(test_stream(), on_x.view(), on_plain.view());
    cuda::upsample_window_forward(test_stream(), on_x.view(), on_window.view(), 1.0f, on_windowed.view());
    CHECK(compared_bits(on_windowed.get(), on_plain.get()));
}

TEST_CASE("windows that are not one for each image are refused") {
    const FeatureBuffer x(2, 1, 3, 3, 1), one(1, 4, 1, 1, 1), three(2, 3, 1, 1, 1);
    FeatureBuffer y(2, 1, 6, 6, 1);
    for (const FeatureBuffer* windows : {&one, &three}) {
        CHECK_THROWS_AS(cpu::upsample_window_forward(x.view(), windows->view(), 1, y.view()), Error);
        CHECK_THROWS_AS(cuda::upsample_window_forward(test_stream(), x.view(), windows->view(), 1, y.view()),
                        Error);
    }
}
