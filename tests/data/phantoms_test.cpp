// Phantoms are reproducible, look alike at every size, and are structured in some places and flat in others.
#include "engine/data/phantoms.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/data/smooth_noise.h"
#include "engine/pictures/image.h"
#include "kernels/base/error.h"
#include "tests/support/run_on.h"
#include "tests/support/temporary_folder.h"

namespace {

struct Moments {
    double mean = 0, deviation = 0;
};

Moments moments(const std::vector<float>& values) {
    double sum = 0, squares = 0;
    for (const float value : values) sum += value;
    const double mean = sum / double(values.size());
    for (const float value : values) squares += (value - mean) * (value - mean);
    return {mean, std::sqrt(squares / double(values.size() - 1))};
}

/// Means of blocks of factor×factor pixels.
std::vector<float> shrink(const std::vector<float>& image, int size, int factor) {
    const int side = size / factor;
    std::vector<float> small(std::size_t(side) * side);
    for (int i = 0; i < side * factor; ++i)
        for (int j = 0; j < side * factor; ++j)
            small[(i / factor) * side + j / factor] += image[i * size + j] / float(factor * factor);
    return small;
}

double correlation(const std::vector<float>& a, const std::vector<float>& b) {
    const Moments ma = moments(a), mb = moments(b);
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - ma.mean) * (b[i] - mb.mean);
    return sum / (double(a.size() - 1) * ma.deviation * mb.deviation);
}

}  // namespace

TEST_CASE("a phantom is a pure function of seed, index and size") {
    const std::vector<float> image = tvmap::phantom(3, 5, 64);
    CHECK(image.size() == 64 * 64);
    CHECK(image == tvmap::phantom(3, 5, 64));
    // Another seed or index is another patient, not another noise.
    CHECK(correlation(image, tvmap::phantom(3, 6, 64)) < 0.97);
    CHECK(correlation(image, tvmap::phantom(4, 5, 64)) < 0.97);
}

TEST_CASE("values lie in [0, 1] and spread like a radiograph's") {
    double mean_deviation = 0;
    for (std::uint32_t index = 0; index < 12; ++index) {
        const std::vector<float> image = tvmap::phantom(42, index, 96);
        for (const float value : image) CHECK((value >= 0 && value <= 1));
        const Moments m = moments(image);
        CHECK(m.mean > 0.2);
        CHECK(m.mean < 0.7);
        mean_deviation += m.deviation / 12;
    }
    // Chest radiographs have about 0.19 on average.
    CHECK(mean_deviation > 0.15);
    CHECK(mean_deviation < 0.26);
}

TEST_CASE("every size shows the same patient") {
    for (const std::uint32_t index : {0u, 7u}) {
        const std::vector<float> large = shrink(tvmap::phantom(1, index, 256), 256, 8);
        const std::vector<float> small = shrink(tvmap::phantom(1, index, 64), 64, 2);
        // They differ by what 64 pixels cannot show: vessels and grain.
        CHECK(correlation(large, small) > 0.98);
    }
    for (const int size : {8, 9, 33}) CHECK(tvmap::phantom(1, 0, size).size() == std::size_t(size * size));
    CHECK_THROWS_AS(tvmap::phantom(1, 0, 7), tvmap::Error);
}

TEST_CASE("structure is uneven: one regularisation parameter cannot suit all of a phantom") {
    constexpr int size = 256, block = 16;
    for (std::uint32_t index = 0; index < 6; ++index) {
        const std::vector<float> image = tvmap::phantom(42, index, size);
        std::vector<double> variation;  // mean |∇x| of every block
        for (int top = 0; top < size; top += block)
            for (int left = 0; left < size; left += block) {
                double sum = 0;
                for (int i = top; i < top + block - 1; ++i)
                    for (int j = left; j < left + block - 1; ++j)
                        sum += std::abs(image[(i + 1) * size + j] - image[i * size + j]) +
                               std::abs(image[i * size + j + 1] - image[i * size + j]);
                variation.push_back(sum / ((block - 1) * (block - 1)));
            }
        std::sort(variation.begin(), variation.end());
        const double flat = variation[variation.size() / 10], busy = variation[variation.size() * 4 / 5];
        CAPTURE(index);
        CAPTURE(flat);
        CHECK(busy > 4 * flat);  // the tenth that is flattest, the fifth that is busiest
        CHECK(busy > 0.03);      // structure that stands out of noise of a tenth
    }
}

TEST_CASE("files hold the phantoms to half a grey level, for any number of threads") {
    const TemporaryFolder folder;
    for (const int threads : {1, 3}) {
        const RunOn on(threads);
        const std::string to = folder / ("deep/" + std::to_string(threads));
        tvmap::write_phantoms(to, 4, 40, 11, 99998);
        for (const std::uint32_t index : {99998u, 99999u, 100000u, 100001u}) {
            const tvmap::Picture picture =
                tvmap::read_picture(to + "/phantom_" + std::to_string(index) + ".png");
            const std::vector<float> expected = tvmap::phantom(11, index, 40);
            REQUIRE(picture.values.size() == expected.size());
            CHECK(picture.channels == 1);
            for (std::size_t i = 0; i < expected.size(); ++i)
                CHECK(std::abs(picture.values[i] - expected[i]) <= 0.5 / 255 + 1e-6);
        }
    }
    tvmap::write_phantoms(folder.path.string(), 1, 16, 1);
    CHECK(std::filesystem::exists(folder / "phantom_00000.png"));
    CHECK_THROWS_AS(tvmap::write_phantoms(folder.path.string(), 0, 16, 1), tvmap::Error);
    CHECK_THROWS_AS(tvmap::write_phantoms("/proc/tvmap", 1, 16, 1), tvmap::Error);
    CHECK_THROWS_AS(tvmap::write_phantoms(folder.path.string(), 2, 4, 1), tvmap::Error);
}

TEST_CASE("smooth noise has mean 0, deviation 1 and no detail finer than its wavelength") {
    constexpr double wavelength = 0.05;
    const tvmap::SmoothNoise noise(5, 2, 1, 3.0, wavelength);
    double sum = 0, squares = 0, roughness = 0, apart = 0;
    constexpr int side = 300;
    for (int i = 0; i < side; ++i)
        for (int j = 0; j < side; ++j) {
            const double x = 3.0 * j / side, y = 3.0 * i / side, value = noise(x, y);
            sum += value;
            squares += value * value;
            roughness += std::pow(noise(x + 0.02 * wavelength, y) - value, 2);
            apart += std::pow(noise(x + 2 * wavelength, y) - value, 2);
        }
    constexpr double count = side * side;
    // Some 120×120 lattice points of weight: the mean's own deviation is near 2/120, the variance's near 3 %.
    CHECK(std::abs(sum / count) < 0.06);
    CHECK(squares / count == doctest::Approx(1).epsilon(0.1));
    // A B-spline's slope: mean square 4·(2/3)·(315/151) per wavelength², so a step of 0.02 of it changes the
    // field by at most 0.05; four lattice cells away the field is independent and differs by √2.
    CHECK(std::sqrt(roughness / count) < 0.06);
    CHECK(std::sqrt(roughness / count) > 0.01);
    CHECK(std::sqrt(apart / count) == doctest::Approx(std::sqrt(2.0)).epsilon(0.1));
    CHECK(noise(1.0, 2.0) == tvmap::SmoothNoise(5, 2, 1, 3.0, wavelength)(1.0, 2.0));
    CHECK(noise(1.0, 2.0) != tvmap::SmoothNoise(5, 3, 1, 3.0, wavelength)(1.0, 2.0));
}
