// The draws of a training: the order of the images, crops (top and left), flips, the level of the noise, and the noise.
// Each must be spread as it should be, and independent of the others, of the epoch, the image and the seed. Every check
// is a chi-square or correlation test on numbers that are fixed by their seeds, so that it passes for ever or never; at
// the significance of 1e-4, one of some two hundred checks would have failed with a probability of 2 % when they were
// written. What the tests find is planted in tests/CMakeLists.txt.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "engine/data/noise.h"
#include "engine/data/phantoms.h"
#include "engine/training/batches.h"
#include "tests/reference/random.h"
#include "tests/reference/statistics.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;
using reference::Correlation;
using reference::Counts;

namespace {

constexpr double significance = 1e-4;
constexpr int images = 20, size = 24, crop = 16, room = size - crop + 1;

/// What is drawn for an image in an epoch, as numbers from 0.
enum Kind { position, top, left, flip, level, kinds };
constexpr const char* names[kinds] = {"position", "top", "left", "flip", "level"};
constexpr int values[kinds] = {images, room, room, 2, 8};
using Draw = std::array<int, kinds>;

struct Draws {
    std::vector<std::array<Draw, images>> epochs;

    const Draw& at(int epoch, int image) const { return epochs[std::size_t(epoch)][std::size_t(image)]; }
    int count() const { return int(epochs.size()); }
};

struct Workshop {
    TemporaryFolder folder;
    Config config;

    Workshop() {
        config.data.train = folder / "images";
        write_phantoms(config.data.train, images, size, 5);
        config.data.size = size;
        config.train.crop = crop;
        config.train.flip = true;
        config.noise.relative_to_image_std = false;
        config.noise.sigma = {0.1, 0.5};
    }

    Dataset data(int limit = images) const { return {config.data.train, size, limit}; }

    Draws draws(std::uint64_t seed, int epochs) const {
        Config own = config;
        own.seed = seed;
        const Dataset set = data();
        Draws draws;
        for (int epoch = 1; epoch <= epochs; ++epoch) {
            const std::vector<BatchItem> items = epoch_items(own, set, epoch);
            REQUIRE(items.size() == images);
            std::array<Draw, images> all;
            std::array<int, images> visits{};
            for (int k = 0; k < images; ++k) {
                const BatchItem& item = items[k];
                REQUIRE(item.image < images);
                ++visits[item.image];
                REQUIRE((item.scale >= 0.1f && item.scale <= 0.5f));
                all[item.image] = {k, item.top, item.left, item.mirror,
                                   std::min(7, int((item.scale - 0.1f) / 0.4f * 8))};
            }
            REQUIRE(std::all_of(visits.begin(), visits.end(), [](int n) { return n == 1; }));
            draws.epochs.push_back(all);
        }
        return draws;
    }
};

void check(const std::string& what, double p_value) {
    CAPTURE(what);
    CHECK(p_value > significance);
}

/// Pairs of draws (a of one image and epoch, b of another), over all epochs and images for which there is another.
double p_of_pairs(const Draws& one, Kind a, const Draws& two, Kind b, int epochs_on, int images_on) {
    Counts counts(values[a], values[b]);
    for (int epoch = 0; epoch + epochs_on < one.count(); ++epoch)
        for (int image = 0; image < images; ++image)
            counts.add(one.at(epoch, image)[a], two.at(epoch + epochs_on, (image + images_on) % images)[b]);
    return counts.p_value();
}

/// Standard normal numbers by 32 intervals of equal probability.
int interval(double normal, int intervals) {
    return std::min(intervals - 1, int(reference::normal_cdf(normal) * intervals));
}

}  // namespace

TEST_CASE("the tests' own distributions") {
    CHECK(reference::chi_square_tail(3.841458820694124, 1) == doctest::Approx(0.05).epsilon(1e-9));
    CHECK(reference::chi_square_tail(2.705543454095404, 1) == doctest::Approx(0.1).epsilon(1e-9));
    CHECK(reference::chi_square_tail(18.307038053275146, 10) == doctest::Approx(0.05).epsilon(1e-9));
    CHECK(reference::chi_square_tail(2 * std::log(1e6), 2) == doctest::Approx(1e-6).epsilon(1e-9));
    CHECK(reference::chi_square_tail(1, 2) == doctest::Approx(std::exp(-0.5)).epsilon(1e-9));
    CHECK(reference::normal_tails(1.959963984540054) == doctest::Approx(0.05).epsilon(1e-9));
}

TEST_CASE("each draw takes every value equally often, together with every value of another") {
    const Workshop w;
    const Draws draws = w.draws(42, 1000);
    for (int a = 0; a < kinds; ++a)
        for (int b = a + 1; b < kinds; ++b)
            check(std::string(names[a]) + " and " + names[b],
                  p_of_pairs(draws, Kind(a), draws, Kind(b), 0, 0));
}

TEST_CASE("draws do not depend on the epoch, the image or the seed, nor on draws of another one") {
    const Workshop w;
    const Draws draws = w.draws(42, 1000);
    for (int a = 0; a < kinds; ++a) {
        Counts by_epoch(20, values[a]), by_image(images, values[a]);
        for (int epoch = 0; epoch < draws.count(); ++epoch)
            for (int image = 0; image < images; ++image) {
                by_epoch.add(epoch / 50, draws.at(epoch, image)[a]);
                by_image.add(image, draws.at(epoch, image)[a]);
            }
        check(std::string(names[a]) + " by epoch", by_epoch.p_value());
        check(std::string(names[a]) + " by image", by_image.p_value());
        for (int b = 0; b < kinds; ++b) {
            const std::string pair = std::string(names[a]) + " and " + names[b];
            check(pair + " of the next epoch", p_of_pairs(draws, Kind(a), draws, Kind(b), 1, 0));
            check(pair + " of the next epoch and image", p_of_pairs(draws, Kind(a), draws, Kind(b), 1, 1));
            check(pair + " of the next epoch, image before",
                  p_of_pairs(draws, Kind(a), draws, Kind(b), 1, images - 1));
            // (No two images have one position.)
            if (a != position || b != position)
                check(pair + " of the next image", p_of_pairs(draws, Kind(a), draws, Kind(b), 0, 1));
        }
        check(std::string(names[a]) + " two epochs on", p_of_pairs(draws, Kind(a), draws, Kind(a), 2, 0));
    }
    for (const std::uint64_t seed : {43ull, 42ull + (1ull << 32)}) {
        CAPTURE(seed);
        const Draws other = w.draws(seed, 1000);
        for (int a = 0; a < kinds; ++a) {
            check(std::string(names[a]) + " of another seed",
                  p_of_pairs(draws, Kind(a), other, Kind(a), 0, 0));
            check(std::string(names[a]) + " of another seed's next epoch",
                  p_of_pairs(draws, Kind(a), other, Kind(a), 1, 0));
        }
    }
}

TEST_CASE("every order of a few images is equally probable, and independent of the order before") {
    const Workshop w;
    for (const int count : {3, 4, 5}) {
        CAPTURE(count);
        const Dataset few = w.data(count);
        int orders = 1;
        for (int i = 2; i <= count; ++i) orders *= i;
        Counts alone(1, orders), with_next(orders, orders);
        int before = -1;
        for (int epoch = 1; epoch <= 20 * orders * std::min(orders, 24); ++epoch) {
            std::vector<std::uint32_t> order;
            for (const BatchItem& item : epoch_items(w.config, few, epoch)) order.push_back(item.image);
            std::vector<std::uint32_t> permutation(order.size());  // its number in alphabetical order
            for (int i = 0; i < count; ++i) permutation[std::size_t(i)] = std::uint32_t(i);
            int number = 0;
            while (permutation != order && std::next_permutation(permutation.begin(), permutation.end()))
                ++number;
            REQUIRE(permutation == order);
            alone.add(0, number);
            if (before >= 0) with_next.add(before, number);
            before = number;
        }
        check("orders", alone.p_value());
        if (count < 5) check("orders of two epochs", with_next.p_value());
    }
}

TEST_CASE("the noise that a training sees is normal, and independent of everything") {
    const Workshop w;
    const Dataset data = w.data();
    constexpr int epochs = 40, pixels = crop * crop;
    const Draws draws = w.draws(w.config.seed, epochs);
    std::vector<float> noise;  // epoch × image × pixel
    noise.resize(std::size_t(epochs) * images * pixels);
    const auto at = [&](int epoch, int image) {
        return &noise[(std::size_t(epoch) * images + image) * pixels];
    };
    Correlation with_picture;
    Batches batches(w.config, data, 1, 0);
    for (int epoch = 0; epoch < epochs; ++epoch)
        for (const BatchItem& item : epoch_items(w.config, data, epoch + 1)) {
            const Batches::Batch& batch = batches.next();
            std::vector<float> clean(pixels);
            data.copy(int(item.image), item.top, item.left, crop, item.mirror != 0, clean.data());
            REQUIRE(batch.target == clean);
            double mean = 0;
            for (const float value : clean) mean += value / pixels;
            for (int i = 0; i < pixels; ++i) {
                const float n = (batch.noisy[i] - batch.target[i]) / item.scale;
                at(epoch, int(item.image))[i] = n;
                with_picture.add(n, clean[i] - mean);
            }
        }
    check("noise and picture", with_picture.p_value());

    Counts spread(1, 64), by_pixel(pixels, 4), by_image(images, 16), by_epoch(epochs, 16);
    std::vector<Counts> by_draw;
    for (int kind = 0; kind < kinds; ++kind) by_draw.emplace_back(values[kind], 16);
    Correlation right, below, across, next_epoch, next_image, size_of_next;
    for (int epoch = 0; epoch < epochs; ++epoch)
        for (int image = 0; image < images; ++image)
            for (int i = 0; i < pixels; ++i) {
                const double n = at(epoch, image)[i];
                spread.add(0, interval(n, 64));
                by_pixel.add(i, interval(n, 4));
                by_image.add(image, interval(n, 16));
                by_epoch.add(epoch, interval(n, 16));
                for (int kind = 0; kind < kinds; ++kind)
                    by_draw[std::size_t(kind)].add(draws.at(epoch, image)[std::size_t(kind)],
                                                   interval(n, 16));
                const int column = i % crop;
                if (column + 1 < crop) {
                    right.add(n, at(epoch, image)[i + 1]);
                    const double square = n * n - 1, next = at(epoch, image)[i + 1];
                    size_of_next.add(square, next * next - 1);
                }
                if (i + crop < pixels) below.add(n, at(epoch, image)[i + crop]);
                if (column < crop / 2) across.add(n, at(epoch, image)[i - column + crop - 1 - column]);
                if (epoch + 1 < epochs) next_epoch.add(n, at(epoch + 1, image)[i]);
                if (image + 1 < images) next_image.add(n, at(epoch, image + 1)[i]);
            }
    check("noise", spread.p_value());
    check("noise by pixel", by_pixel.p_value());
    check("noise by image", by_image.p_value());
    check("noise by epoch", by_epoch.p_value());
    for (int kind = 0; kind < kinds; ++kind)
        check(std::string("noise by ") + names[kind], by_draw[std::size_t(kind)].p_value_by_row());
    check("noise of the pixel on the right", right.p_value());
    check("size of the noise of the pixel on the right", size_of_next.p_value());
    check("noise of the pixel below", below.p_value());
    check("noise of the mirrored pixel", across.p_value());
    check("noise of the next epoch", next_epoch.p_value());
    check("noise of the next image", next_image.p_value());
}

TEST_CASE("the noise of validation, test and training differs, and so do its levels") {
    const Workshop w;
    const Dataset data = w.data();
    constexpr int pixels = size * size;
    Correlation pairs[3];
    Correlation levels[3];
    constexpr std::uint32_t epochs[3] = {validation_epoch, test_epoch, 1};
    for (std::uint64_t seed = 1; seed <= 50; ++seed)
        for (int image = 0; image < images; ++image) {
            std::vector<float> noise[3];
            double level[3];
            for (int k = 0; k < 3; ++k) {
                const std::vector<float> black(pixels);
                noise[k].resize(pixels);
                level[k] = make_noisy({w.config.noise, w.config.noise.sigma, seed, epochs[k]}, data, image,
                                      pixels, black.data(), noise[k].data());
            }
            for (int k = 0; k < 3; ++k) {
                const int other = (k + 1) % 3;
                for (int i = 0; i < pixels; ++i)
                    pairs[k].add(noise[k][i] / level[k], noise[other][i] / level[other]);
                levels[k].add(level[k] - 0.3, level[other] - 0.3);
            }
        }
    for (int k = 0; k < 3; ++k) {
        CAPTURE(k);
        check("noise", pairs[k].p_value());
        check("level", levels[k].p_value());
    }
}
