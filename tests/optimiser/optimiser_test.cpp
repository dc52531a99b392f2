// The optimiser's whole step on a network's parameters, against double, with any number of parts and threads; learning
// rates; the clock of a run by time.
#include "engine/optimiser/optimiser.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "engine/optimiser/learning_rate.h"
#include "engine/optimiser/run_clock.h"
#include "kernels/threads/threads.h"
#include "tests/reference/optimiser.h"
#include "tests/support/normal_values.h"

using namespace tvmap;

namespace {

/// Two weights and their biases, and a learned number without a dimension to speak of.
std::vector<Parameter> some_parameters() {
    std::vector<Parameter> list;
    std::int64_t offset = 0;
    const auto add = [&](const std::string& name, const std::vector<std::int64_t>& shape) {
        Parameter p;
        p.name = name;
        p.shape = shape;
        p.offset = offset;
        p.size = 1;
        for (const std::int64_t side : shape) p.size *= side;
        p.fan_in = 9;
        offset += p.size;
        list.push_back(p);
    };
    add("a.weight", {7, 3, 3, 3});
    add("a.bias", {7});
    add("b.weight", {40, 30, 3, 3});
    add("b.bias", {40});
    add("tau", {1});
    return list;
}

struct Result {
    std::vector<float> weights, average;
};

/// `steps` steps by gradients that are drawn, in so many parts and batches.
Result optimise(const Config& config, int steps, int parts, int threads,
                reference::Optimiser* exact = nullptr) {
    set_threads(threads);
    const auto backend = make_backend("cpu");
    Parameters parameters(*backend, some_parameters(), true, parts, Optimiser::kept(config));
    parameters.initialise(3);
    if (exact) {
        const std::vector<float> start = parameters.host_weights();
        exact->w = exact->average = std::vector<double>(start.begin(), start.end());
    }
    Optimiser optimiser(*backend, parameters, config);
    const auto team = parts > 1 ? std::make_unique<Team>(threads) : nullptr;
    const std::int64_t count = parameters.count();
    for (int t = 1; t <= steps; ++t) {
        std::vector<std::vector<double>> gradients;
        for (int batch = 0; batch < config.train.accumulate; ++batch) {
            std::vector<double>& mean = gradients.emplace_back(count, 0.0);
            for (int part = 0; part < parts; ++part) {
                const std::vector<double> g = random_values(count, 1000 * t + 10 * batch + part);
                for (std::int64_t i = 0; i < count; ++i) {
                    parameters.gradient(0, part)[i] = float(g[i]);
                    mean[i] += g[i] / parts;
                }
            }
            if (batch + 1 < config.train.accumulate) optimiser.gather(team.get());
        }
        optimiser.step(optimiser.adam(config.optimiser.rate, t), team.get());
        if (exact) exact->step(gradients);
    }
    set_threads(1);
    return {parameters.host_weights(), parameters.result().host_weights()};
}

double worst(const std::vector<float>& a, const std::vector<double>& b) {
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(double(a[i]) - b[i]));
    return largest;
}

}  // namespace

TEST_CASE(
    "a step is clipping, decay, Adam and an average, of the mean gradient; weights decay and biases do not") {
    Config config;
    config.optimiser.rate = 1e-2;
    int parts = 1;
    SUBCASE("Adam alone") {}
    SUBCASE("decay") {}
    SUBCASE("clipping") { config.optimiser.clip = 0.5; }
    SUBCASE("a bound that no gradient reaches") { config.optimiser.clip = 1e6; }
    SUBCASE("an average") { config.train.ema = 0.9; }
    SUBCASE("three batches") { config.train.accumulate = 3; }
    SUBCASE("all, in parts") {
        config.optimiser.clip = 0.5;
        config.train.ema = 0.9;
        config.train.accumulate = 3;
        parts = 4;
    }
    for (const bool decay : {false, true}) {
        CAPTURE(decay);
        config.optimiser.decoupled_decay = decay;
        config.optimiser.weight_decay = 2;
        const std::vector<Parameter> list = some_parameters();
        std::vector<bool> decays;
        for (const Parameter& p : list)
            decays.insert(decays.end(), std::size_t(p.size), decay && p.name.ends_with("weight"));
        reference::Optimiser exact(
            {.rate = 1e-2, .weight_decay = 2, .clip = config.optimiser.clip, .ema = config.train.ema},
            std::vector<double>(decays.size()), decays);
        const int steps = 6;
        const Result result = optimise(config, steps, parts, parts > 1 ? 2 : 1, &exact);
        // A step rounds a weight of less than 1 thrice (2^-25 each) and moves it by the rate times 1 + 4e-6: the relative
        // error of a mean of normal numbers that nearly cancel, at most a hundredth of them, is some 1e-5 where it counts.
        const double tolerance = steps * (1e-7 + 1e-2 * 1e-5);
        CHECK(worst(result.weights, exact.w) < tolerance);
        CHECK(worst(result.average, config.train.ema > 0 ? exact.average : exact.w) < tolerance);
    }
}

TEST_CASE("a step has the same bits for any number of threads") {
    Config config;
    config.optimiser.clip = 0.5;
    config.optimiser.decoupled_decay = true;
    config.train.ema = 0.9;
    config.train.accumulate = 2;
    for (const int parts : {1, 4}) {
        const Result one = optimise(config, 4, parts, 1);
        for (const int threads : {2, 3}) {
            const Result more = optimise(config, 4, parts, threads);
            CHECK((more.weights == one.weights));
            CHECK((more.average == one.average));
        }
    }
}

TEST_CASE("without any of it, a step is Adam's, bit by bit") {
    Config config, off = config;
    off.optimiser.decoupled_decay = true;
    off.optimiser.weight_decay = 0;
    off.optimiser.clip = 1e9;
    CHECK((optimise(config, 4, 1, 1).weights == optimise(off, 4, 1, 1).weights));
}

TEST_CASE("a rate falls at milestones, which are shares of the steps after the warm-up") {
    OptimiserConfig o;
    o.rate = 1;
    o.schedule = RateSchedule::step;
    o.warmup = 20;
    o.milestones = {0.25, 0.5};
    o.factor = 0.5;
    CHECK(learning_rate(o, 10, 120) == doctest::Approx(0.5));
    CHECK(learning_rate(o, 45, 120) == 1);
    CHECK(learning_rate(o, 46, 120) == 0.5);
    CHECK(learning_rate(o, 70, 120) == 0.5);
    CHECK(learning_rate(o, 71, 120) == 0.25);
    CHECK(learning_rate(o, 120, 120) == 0.25);
    CHECK(learning_rate_by_time(o, 10, 0) == doctest::Approx(0.5));
    CHECK(learning_rate_by_time(o, 100, 0.2) == 1);
    CHECK(learning_rate_by_time(o, 100, 0.3) == 0.5);
}

TEST_CASE("by time, a cosine ends at zero when the share is over") {
    OptimiserConfig o;
    o.rate = 1;
    o.schedule = RateSchedule::cosine;
    CHECK(learning_rate_by_time(o, 1, 0) == 1);
    CHECK(learning_rate_by_time(o, 1, 0.5) == doctest::Approx(0.5));
    CHECK(std::abs(learning_rate_by_time(o, 1, 1)) < 1e-15);
}

TEST_CASE("a run's clock goes on where it stood, and keeps back what the end takes") {
    RunClock clock(100);
    CHECK(clock.used() < 10);
    CHECK_FALSE(clock.over());
    clock.go_on_after(60);
    CHECK(clock.used() >= 60);
    CHECK(clock.share() ==
          doctest::Approx(0.6).epsilon(0.2));  // of a machine that takes less than 10 s for a line
    clock.reserve(20);
    CHECK(clock.share() == doctest::Approx(0.75).epsilon(0.2));
    CHECK_FALSE(clock.over(10));
    CHECK(clock.over(60));  // half of it is nearer to the end than nothing
    clock.go_on_after(80);
    CHECK(clock.over());
    CHECK(clock.share() == 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK(clock.used() >= 80.02);
}
