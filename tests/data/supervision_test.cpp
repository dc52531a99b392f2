// What trainings without clean images are fed: the algebra and the statistics of recorrupted images against plain double
// code, probes, pairs, and noise that belongs to an image, whatever square of it is seen, and when.
#include "engine/data/supervision.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "engine/data/noise.h"
#include "engine/data/noise_estimate.h"
#include "engine/data/phantoms.h"
#include "kernels/training/random.h"
#include "tests/reference/statistics.h"
#include "tests/reference/training.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;
using reference::Correlation;

namespace {

constexpr int size = 32, images = 3;
constexpr double significance = 1e-4;  // as in draws_test: numbers are fixed by their seeds

struct Workshop {
    TemporaryFolder folder;
    Config config;

    Workshop() {
        config.data.train = folder / "images";
        write_phantoms(config.data.train, images, size, 5);
        config.data.size = size;
        config.noise.relative_to_image_std = false;
        config.noise.sigma = {0.125, 0.125};
    }
    Dataset data() const { return {config.data.train, size, images}; }
};

/// What make_unsupervised makes of an item.
struct Made {
    std::vector<float> fed, target;
};
Made make(const Config& config, const Dataset& data, const BatchItem& item, int side) {
    const std::size_t floats = std::size_t(config.train.fed_images()) * std::size_t(side * side);
    Made made{std::vector<float>(floats), std::vector<float>(floats)};
    make_unsupervised(config, data, item, side, made.fed.data(), made.target.data());
    return made;
}

/// Normal numbers that the product does not draw.
std::vector<double> noise(std::size_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    std::vector<double> values(count);
    for (double& value : values) value = normal(generator);
    return values;
}

/// A linear denoiser: means of three neighbours.
std::vector<double> smoothed(const std::vector<double>& y) {
    std::vector<double> x(y.size());
    for (std::size_t i = 0; i < y.size(); ++i)
        x[i] = (y[(i + y.size() - 1) % y.size()] + y[i] + y[(i + 1) % y.size()]) / 3;
    return x;
}
double mean_squared(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]) / double(a.size());
    return sum;
}

}  // namespace

TEST_CASE("recorrupted images: y₂ follows from z and y₁, and the noise of both is independent") {
    const double sigma = 0.125;
    const std::size_t count = 400000;
    for (const double alpha : {0.15, 0.5, 0.8}) {
        CAPTURE(alpha);
        const std::vector<double> n = noise(count, 1);
        std::vector<double> x(count), first(count), second(count);
        std::vector<float> z(count), y1(count), y2(count);
        for (std::size_t i = 0; i < count; ++i) {
            x[i] = 0.5 + 0.3 * std::sin(0.01 * double(i));
            z[i] = float(x[i] + sigma * n[i]);
        }
        recorrupt({7, 3, 5, float(sigma)}, alpha, std::int64_t(count), z.data(), y1.data(), y2.data());
        double worst = 0, variance1 = 0, variance2 = 0;
        Correlation both, squares;
        for (std::size_t i = 0; i < count; ++i) {
            worst = std::max(worst, std::abs(y2[i] - (z[i] - (1 - alpha) * y1[i]) / alpha));
            first[i] = (y1[i] - x[i]) / sigma, second[i] = (y2[i] - x[i]) / sigma;
            variance1 += first[i] * first[i] / double(count);
            variance2 += second[i] * second[i] / double(count);
            both.add(first[i], second[i]);
            squares.add(first[i] * first[i] * (1 - alpha) - 1, second[i] * second[i] * alpha - 1);
        }
        // y₁ and z, of about 1, are rounded to 2^-25 of them, and the difference is divided by α.
        CHECK(worst < 4 * 6e-8 / alpha);
        CHECK(both.p_value() > significance);
        CHECK(squares.p_value() > significance);  // of normal numbers; not correlated is not yet independent
        const double error = 4 * std::sqrt(2 / double(count));  // four standard errors of a variance
        CHECK(variance1 * (1 - alpha) == doctest::Approx(1).epsilon(error));
        CHECK(variance2 * alpha == doctest::Approx(1).epsilon(error));

        // The loss against y₂ is that against x and σ²/α, but for means of products of independent numbers.
        const std::vector<double> result = smoothed({y1.begin(), y1.end()});
        const double blind = mean_squared(result, {y2.begin(), y2.end()}) - sigma * sigma / alpha;
        const double exact = mean_squared(result, x);
        const double spread = std::sqrt(
            (2 * sigma * sigma * sigma * sigma / alpha / alpha + 4 * exact * sigma * sigma / alpha) /
            double(count));
        CHECK(std::abs(blind - exact) < 4 * spread);
        CHECK(4 * spread <
              0.35 * exact);  // or this would say nothing (at α = 0.15: y₂ is seven times as noisy)
    }
}

TEST_CASE(
    "SURE is the mean squared error on images of noise σ√(1 + ε²), but for sampling: of any denoiser, for "
    "any ε") {
    const double sigma = 0.125;
    const std::size_t count = 400000;
    const std::vector<double> n = noise(count, 2);
    std::vector<double> x(count);
    std::vector<float> z(count), up(count), down(count), v(count);
    for (std::size_t i = 0; i < count; ++i) {
        x[i] = 0.2 * std::sin(0.01 * double(i));
        z[i] = float(x[i] + sigma * n[i]);
    }
    // Three neighbours' mean, and thresholding, whose derivative jumps.
    const auto thresholded = [&](const std::vector<double>& y) {
        std::vector<double> result(y.size());
        for (std::size_t i = 0; i < y.size(); ++i)
            result[i] = std::copysign(std::max(0.0, std::abs(y[i]) - 1.2 * sigma), y[i]);
        return result;
    };
    for (const double epsilon : {0.1, 0.5, 1.0}) {
        CAPTURE(epsilon);
        probe({7, 3, 5, float(sigma)}, epsilon, std::int64_t(count), z.data(), up.data(), down.data(),
              v.data());
        double variance = 0;
        Correlation neighbours, with_noise;
        for (std::size_t i = 0; i < count; ++i) {
            // Roundings of z, of about 1.
            REQUIRE(std::abs(double(up[i]) - z[i] - epsilon * v[i]) < 1.2e-7);
            REQUIRE(std::abs(double(down[i]) - z[i] + epsilon * v[i]) < 1.2e-7);
            variance += v[i] * v[i] / (sigma * sigma * double(count));
            neighbours.add(v[i], v[(i + 1) % count]);
            with_noise.add(v[i], n[i]);
        }
        CHECK(std::abs(variance - 1) < 4 * std::sqrt(2 / double(count)));  // four standard errors
        CHECK(neighbours.p_value() > significance);
        CHECK(with_noise.p_value() > significance);
        const std::vector<double> plus(up.begin(), up.end()), minus(down.begin(), down.end());
        for (const bool linear : {true, false}) {
            CAPTURE(linear);
            std::vector<double> both = linear ? smoothed(plus) : thresholded(plus),
                                target(z.begin(), z.end());
            const double exact = mean_squared(both, x);
            const std::vector<double> other = linear ? smoothed(minus) : thresholded(minus);
            both.insert(both.end(), other.begin(), other.end());
            target.insert(target.end(), v.begin(), v.end());
            const double sure = reference::sure(epsilon, both, target, 1);
            // The residual's, the probe's and the error's sampling: σ² times a few over √count, at large ε and small.
            const double spread = 4 * 4 * sigma * sigma / std::sqrt(double(count));
            CHECK(std::abs(sure - exact) < spread);
            CHECK(spread < 0.1 * exact);
        }
    }
}

TEST_CASE("an image is observed once: its noise is the same in every epoch and every square") {
    Workshop w;
    const Dataset data = w.data();
    w.config.train.supervision = Supervision::sure;
    std::vector<float> clean(size * size);
    data.copy(1, clean.data());
    const Made whole = make(w.config, data, {.image = 1, .scale = 0.125f, .epoch = 4}, size);
    for (int i = 0; i < size * size; ++i) {
        float normal = 0;
        cpu::normal_numbers(w.config.seed, Purpose::noise, observation_epoch, 1, i, 1, &normal);
        REQUIRE(whole.target[std::size_t(i)] == clean[std::size_t(i)] + 0.125f * normal);
        // Both fed images are as far from it.
        const float up = whole.fed[std::size_t(i)], down = whole.fed[std::size_t(i + size * size)];
        REQUIRE(std::abs(double(up) + down - 2 * double(whole.target[std::size_t(i)])) < 2.4e-7);
    }
    const int top = 5, left = 7, side = 16;
    for (const bool mirror : {false, true})
        for (const std::uint32_t epoch : {1u, 9u}) {
            const Made part = make(
                w.config, data,
                {.image = 1, .top = top, .left = left, .mirror = mirror, .scale = 0.125f, .epoch = epoch},
                side);
            for (int i = 0; i < side; ++i)
                for (int j = 0; j < side; ++j)
                    REQUIRE(part.target[std::size_t(i * side + j)] ==
                            whole.target[std::size_t((top + i) * size + left + (mirror ? side - 1 - j : j))]);
        }
    const Made later = make(w.config, data, {.image = 1, .scale = 0.125f, .epoch = 5}, size);
    CHECK(later.target != whole.target);  // another probe,
    CHECK(
        std::equal(later.target.begin(), later.target.begin() + size * size, whole.target.begin()));  // and z
}

TEST_CASE("a network that normalises is fed and compared in units of the noise") {
    Workshop w;
    const Dataset data = w.data();
    const BatchItem item{.image = 1, .scale = 0.125f, .epoch = 4};  // a power of two: division is exact
    for (const Supervision supervision : {Supervision::r2r, Supervision::sure, Supervision::pairs}) {
        w.config.train.supervision = supervision;
        w.config.network.normalise = false;
        const Made plain = make(w.config, data, item, size);
        w.config.network.normalise = true;
        const Made scaled = make(w.config, data, item, size);
        for (std::size_t i = 0; i < plain.fed.size(); ++i) {
            REQUIRE(scaled.fed[i] == plain.fed[i] / 0.125f);
            REQUIRE(scaled.target[i] == plain.target[i] / 0.125f);
        }
        BatchItem clear = item;
        clear.scale = 0;  // an estimate may be
        for (const float value : make(w.config, data, clear, size).target) REQUIRE(std::isfinite(value));
    }
}

TEST_CASE("pairs are two observations of one image, of independent noise") {
    Workshop w;
    const Dataset data = w.data();
    w.config.train.supervision = Supervision::pairs;
    Correlation both;
    double spread = 0;
    for (int image = 0; image < images; ++image) {
        const BatchItem item{.image = std::uint32_t(image), .scale = 0.125f, .epoch = 2};
        const Made pair = make(w.config, data, item, size);
        std::vector<float> clean(size * size);
        data.copy(image, clean.data());
        for (std::size_t i = 0; i < clean.size(); ++i) {
            both.add(pair.fed[i] - clean[i], pair.target[i] - clean[i]);
            spread += std::pow((pair.target[i] - clean[i]) / 0.125, 2) / (images * size * size);
        }
        BatchItem later = item;
        later.epoch = 3;
        CHECK(make(w.config, data, later, size).target == pair.target);
    }
    CHECK(both.p_value() > significance);
    CHECK(std::abs(spread - 1) < 4 * std::sqrt(2.0 / (images * size * size)));  // four standard errors
}

TEST_CASE("images that are noisy already get no noise more, and theirs is given or estimated") {
    Workshop w;
    const Dataset data = w.data();
    w.config.train.supervision = Supervision::r2r;
    CHECK(noise_deviation(w.config, data, 1, 1) == 0.125f);
    for (const NoiseSource source : {NoiseSource::given, NoiseSource::estimated}) {
        w.config.noise.source = source;
        std::vector<float> image(size * size);
        data.copy(1, image.data());
        const float sigma = noise_deviation(w.config, data, 1, 1);
        CHECK(sigma ==
              (source == NoiseSource::given ? 0.125f : float(estimate_noise(image.data(), size, size))));
        const Made made = make(w.config, data, {.image = 1, .scale = sigma, .epoch = 2}, size);
        const double alpha = w.config.train.r2r_alpha;
        for (std::size_t i = 0; i < image.size(); ++i)  // z is what y₁ and y₂ are made of; roundings as above
            REQUIRE(std::abs((1 - alpha) * made.fed[i] + alpha * made.target[i] - image[i]) < 4 * 6e-8);
    }
    w.config.noise.source = NoiseSource::simulated;
    w.config.noise.relative_to_image_std = true;
    w.config.noise.sigma = {0.1, 0.5};
    const float level = noise_level(w.config.noise.sigma, w.config.seed, 3, 1);
    CHECK(noise_deviation(w.config, data, 1, 3) == noise_scale(w.config.noise, level, data, 1));
}
