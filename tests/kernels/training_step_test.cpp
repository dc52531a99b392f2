// The CPU's recorded training step: batches from a schedule, its end, and the quality of many images.
#include "kernels/training/training_step.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/training/metrics.h"
#include "tests/kernels/training_step_case.h"
#include "tests/reference/metrics.h"
#include "tests/support/feature_buffer.h"
#include "tests/support/run_on.h"

using namespace tvmap;

namespace {

std::vector<double> widen(const std::vector<float>& values) { return {values.begin(), values.end()}; }

/// A schedule of the case in host memory.
struct HostSchedule {
    explicit HostSchedule(const TrainingStepCase& c) : losses(c.steps, -1) {
        schedule = {c.steps, c.batch, &counter, c.adam.data(), c.items.data(), losses.data()};
    }
    std::uint32_t counter = 0;
    std::vector<double> losses;
    Schedule schedule;
};

}  // namespace

TEST_CASE("a batch is cut, mirrored, turned and made noisy as its step says") {
    for (const std::string& set : cpu::instruction_sets())
        for (const auto& [size, side] : {std::pair{9, 9}, {13, 6}, {211, 189}})
            for (const int threads : {1, 3}) {
                CAPTURE(set);
                CAPTURE(side);
                const RunOn on(threads, set);
                const TrainingStepCase c(size, side);
                HostSchedule host(c);
                const TrainingImages images{c.images.data(), c.count, c.size};
                for (int step = 0; step < c.steps; ++step) {
                    FeatureBuffer target(c.batch, 1, side, side, 1, 1), noisy(c.batch, 1, side, side, 1, 2);
                    cpu::make_batch(c.seed, images, host.schedule, target.view(), noisy.view());
                    CHECK(target.get() == widen(c.target(step)));
                    CHECK(noisy.get() == widen(c.noisy(step)));  // the same bits
                    CHECK(target.intact());
                    CHECK(noisy.intact());
                    const double loss = 0.5 + step;
                    cpu::finish_step(host.schedule, &loss);
                    CHECK(host.counter == std::uint32_t(step + 1));
                }
                CHECK(host.losses == std::vector<double>{0.5, 1.5, 2.5});
            }
}

TEST_CASE("what a schedule cannot mean is refused") {
    TrainingStepCase c(12, 8);
    HostSchedule host(c);
    const TrainingImages images{c.images.data(), c.count, c.size};
    FeatureBuffer target(c.batch, 1, 8, 8, 1), noisy(c.batch, 1, 8, 8, 1), oblong(c.batch, 1, 8, 7, 1);
    const auto make = [&](View t, View y) { cpu::make_batch(c.seed, images, host.schedule, t, y); };
    CHECK_THROWS_AS(make(target.view(), oblong.view()), Error);
    CHECK_THROWS_AS(make(oblong.view(), noisy.view()), Error);

    const BatchItem good = c.items[0];
    c.items[0].image = unsigned(c.count);
    CHECK_THROWS_AS(make(target.view(), noisy.view()), Error);
    for (const int beyond : {-1, 5}) {
        c.items[0] = good;
        c.items[0].top = beyond;
        CHECK_THROWS_AS(make(target.view(), noisy.view()), Error);
        c.items[0] = good;
        c.items[0].left = beyond;
        CHECK_THROWS_AS(make(target.view(), noisy.view()), Error);
    }
    c.items[0] = good;
    CHECK_NOTHROW(make(target.view(), noisy.view()));

    const double loss = 1;
    host.counter = unsigned(c.steps);
    CHECK_THROWS_AS(make(target.view(), noisy.view()), Error);
    CHECK_THROWS_AS(cpu::finish_step(host.schedule, &loss), Error);
    CHECK(host.counter == unsigned(c.steps));
}

TEST_CASE("each image is measured against its own truth") {
    const int height = 19, width = 23, pixels = height * width, count = 5, images_per_truth = 2;
    std::mt19937 generator(3);
    std::uniform_real_distribution<float> draw(0, 1);
    std::vector<float> images(count * pixels), truths(3 * pixels);
    for (float& value : images) value = draw(generator);
    for (float& value : truths) value = draw(generator);
    std::vector<ImageQuality> quality(count + 1, {-1, -1, -1});
    cpu::image_quality({images.data(), truths.data(), count, images_per_truth, height, width},
                       quality.data());
    for (int i = 0; i < count; ++i) {
        CAPTURE(i);
        const std::vector<float> x(images.begin() + i * pixels, images.begin() + (i + 1) * pixels);
        const std::vector<float> y(truths.begin() + i / 2 * pixels, truths.begin() + (i / 2 + 1) * pixels);
        const double gaussian = reference::ssim(x, y, height, width, 11, reference::gaussian_window(), 1);
        const double uniform =
            reference::ssim(x, y, height, width, 7, reference::uniform_window(), 49.0 / 48);
        // As in metrics_test.cpp: sums in double in another order.
        CHECK(std::abs(quality[i].psnr - reference::psnr(x, y)) < 1e-10);
        CHECK(std::abs(quality[i].ssim - gaussian) < 1e-11);
        CHECK(std::abs(quality[i].ssim_uniform - uniform) < 1e-11);
    }
    CHECK(quality[count].psnr == -1);

    cpu::image_quality({.images = images.data(), .truths = truths.data(), .height = 8, .width = 10},
                       quality.data());
    CHECK(std::isfinite(quality[0].psnr));
    CHECK(std::isnan(quality[0].ssim));
    CHECK(std::isfinite(quality[0].ssim_uniform));
}
