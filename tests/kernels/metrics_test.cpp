// PSNR and SSIM against scikit-image (values by tools/make_metric_fixtures.py) and against windows taken one
// by one.
#include "kernels/training/metrics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/reference/metrics.h"
#include "tests/support/run_on.h"

using namespace tvmap;

namespace {

struct Pair {
    std::vector<float> truth, image;
};

/// The images of tools/make_metric_fixtures.py: multiples of 1/256, exact in float.
Pair formula_images(int height, int width) {
    Pair pair;
    for (std::int64_t i = 0; i < height; ++i)
        for (std::int64_t j = 0; j < width; ++j) {
            const auto truth = (i * 7 + j * 3 + i * j / 5) % 200 + 20;
            const auto noise = (i * 73 + j * 179 + i * j * 31 + (i * i + 3 * j * j) * 11) % 101 - 50;
            pair.truth.push_back(float(truth) / 256);
            pair.image.push_back(float(truth + noise) / 256);
        }
    return pair;
}

struct Known {
    int height, width;
    double psnr, uniform, gaussian;
};
const Known known[] = {
    {11, 11, 18.5207613240189, 0.391409344847603, 0.271464370137729},
    {17, 23, 18.5498722177701, 0.540521024598855, 0.396081393498042},
    {64, 48, 18.8350422253335, 0.785833502014049, 0.705730474861468},
    {129, 75, 18.8459567260183, 0.850246743644118, 0.80086570075271},
};

}  // namespace

TEST_CASE("PSNR and SSIM are scikit-image's, on every instruction set and with several threads") {
    // Both are sums in double in another order; 15 digits were printed.
    const double tolerance = 1e-12;
    for (const std::string& set : cpu::instruction_sets())
        for (const int threads : {1, 3})
            for (const Known& k : known) {
                CAPTURE(set);
                CAPTURE(threads);
                CAPTURE(k.height);
                const RunOn on(threads, set);
                const Pair p = formula_images(k.height, k.width);
                const auto count = std::int64_t(p.truth.size());
                CHECK(std::abs(cpu::psnr(p.image.data(), p.truth.data(), count) - k.psnr) < 100 * tolerance);
                const double uniform = cpu::ssim_uniform(p.image.data(), p.truth.data(), k.height, k.width);
                const double gaussian = cpu::ssim_gaussian(p.image.data(), p.truth.data(), k.height, k.width);
                CHECK(std::abs(uniform - k.uniform) < tolerance);
                CHECK(std::abs(gaussian - k.gaussian) < tolerance);
            }
}

TEST_CASE("SSIM agrees with windows taken one by one, beyond [0, 1] and where the image is flat") {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal;
    for (const auto& [height, width] : {std::pair{11, 12}, {31, 19}, {20, 77}}) {
        CAPTURE(height);
        CAPTURE(width);
        std::vector<float> x, y;
        for (int i = 0; i < height * width; ++i) {
            y.push_back(i % width < width / 2 ? 0.9f : 0.1f);
            x.push_back(y.back() + (i / width < height / 2 ? 0.5f * normal(generator) : 0.0f));
        }
        // Cancellation in E[xx] − Ex² leaves 1e-15 beside C2 = 9e-4.
        const double tolerance = 1e-11;
        CHECK(std::abs(cpu::ssim_uniform(x.data(), y.data(), height, width) -
                       reference::ssim(x, y, height, width, 7, reference::uniform_window(), 49.0 / 48)) <
              tolerance);
        CHECK(std::abs(cpu::ssim_gaussian(x.data(), y.data(), height, width) -
                       reference::ssim(x, y, height, width, 11, reference::gaussian_window(), 1)) <
              tolerance);
    }
}

TEST_CASE("identical images and images too small for the window") {
    const Pair p = formula_images(12, 13);
    CHECK(cpu::psnr(p.truth.data(), p.truth.data(), 156) == std::numeric_limits<double>::infinity());
    CHECK(cpu::ssim_uniform(p.truth.data(), p.truth.data(), 12, 13) == doctest::Approx(1).epsilon(1e-12));
    CHECK(cpu::ssim_gaussian(p.truth.data(), p.truth.data(), 12, 13) == doctest::Approx(1).epsilon(1e-12));
    CHECK(std::isnan(cpu::ssim_uniform(p.image.data(), p.truth.data(), 6, 20)));
    CHECK(std::isfinite(cpu::ssim_uniform(p.image.data(), p.truth.data(), 7, 7)));
    CHECK(std::isnan(cpu::ssim_gaussian(p.image.data(), p.truth.data(), 15, 10)));
    CHECK(std::isfinite(cpu::ssim_gaussian(p.image.data(), p.truth.data(), 11, 11)));
}

TEST_CASE("metrics do not depend on the number of threads, to the bit") {
    const int height = 150, width = 211;
    const Pair p = formula_images(height, width);
    double expected[3] = {};
    for (const int threads : {1, 2, 3, 5}) {
        const RunOn on(threads);
        const double values[3] = {cpu::psnr(p.image.data(), p.truth.data(), height * width),
                                  cpu::ssim_uniform(p.image.data(), p.truth.data(), height, width),
                                  cpu::ssim_gaussian(p.image.data(), p.truth.data(), height, width)};
        if (threads == 1) std::memcpy(expected, values, sizeof values);
        CHECK(std::memcmp(expected, values, sizeof values) == 0);
    }
}
