// The estimate of an image's noise against NumPy's, and against noise that is known.
#include "engine/data/noise_estimate.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

namespace {

/// The noisy images of tools/make_metric_fixtures.py: multiples of 1/256, exact in float.
std::vector<float> formula_image(int height, int width) {
    std::vector<float> image;
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j) {
            const int truth = (i * 7 + j * 3 + i * j / 5) % 200 + 20;
            const int noise = (i * 73 + j * 179 + i * j * 31 + (i * i + 3 * j * j) * 11) % 101 - 50;
            image.push_back(float(truth + noise) / 256);
        }
    return image;
}

}  // namespace

TEST_CASE("the estimate is NumPy's of the formula written out") {
    struct Known {
        int height, width;
        double sigma;
    };
    for (const Known& k : {Known{3, 5, 0.0549412881375284},
                           {11, 11, 0.103284383438592},
                           {17, 23, 0.108918966695276},
                           {64, 48, 0.143937641484586}}) {
        CAPTURE(k.height);
        // Sums in double in another order; 15 digits were printed.
        CHECK(tvmap::estimate_noise(formula_image(k.height, k.width).data(), k.height, k.width) ==
              doctest::Approx(k.sigma).epsilon(1e-13));
    }
}

TEST_CASE("white noise on a slope and an edge is found, and nothing where there is none") {
    const int height = 200, width = 150;
    std::mt19937 random(5);
    std::normal_distribution<double> normal;
    for (const double sigma : {0.0, 0.02, 0.3}) {
        std::vector<float> image;
        for (int i = 0; i < height; ++i)
            for (int j = 0; j < width; ++j)
                image.push_back(float(0.001 * i - 0.002 * j + (j < 70 ? 0.5 : 0) + sigma * normal(random)));
        const double estimate = tvmap::estimate_noise(image.data(), height, width);
        // Neighbouring values of the filter overlap, so that 30,000 pixels are worth some 5,000 draws of |normal|, whose
        // mean is off by 0.76/√5000 = 1.1 %: three of these. Rounding to float leaves 1e-7.
        CHECK(std::abs(estimate - sigma) <= 0.033 * sigma + 1e-7);
    }
}

TEST_CASE("an image without an interior has no estimate") {
    const std::vector<float> image(20, 0.5f);
    CHECK(std::isnan(tvmap::estimate_noise(image.data(), 2, 10)));
    CHECK(std::isnan(tvmap::estimate_noise(image.data(), 10, 2)));
    CHECK(tvmap::estimate_noise(image.data(), 4, 5) == 0);
}
