// What an optimiser's step does around Adam, kernel by kernel, against double, on every instruction set.
#include "kernels/optimiser/optimiser_step.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/normal_values.h"
#include "tests/support/run_on.h"

using namespace tvmap;

namespace {

constexpr float sentinel = 99.0f;
const std::int64_t counts[] = {1, 13, 40009};

/// With one value more, which is nobody's.
std::vector<float> guarded(std::vector<double> values) {
    values.push_back(sentinel);
    return narrow(values);
}

template <class Check>
void on_everything(const Check& check) {
    for (const std::string& set : cpu::instruction_sets())
        for (const std::int64_t count : counts) {
            CAPTURE(set);
            CAPTURE(count);
            const RunOn on(count > 1000 ? 3 : 1, set);
            check(count);
        }
}

}  // namespace

TEST_CASE("the mean gradient of several batches, and their sum begins again") {
    on_everything([](std::int64_t count) {
        const std::vector<double> s = random_values(count, 1), g = random_values(count, 2);
        std::vector<float> sum = guarded(s), gradient = guarded(g);
        cpu::mean_gradient(count, 3, sum.data(), gradient.data());
        double worst = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            worst = std::max(worst, std::abs(gradient[i] - (s[i] + g[i]) / 3));
            CHECK(sum[i] == 0.0f);
        }
        CHECK(worst < 3 * 6e-8 * 4);  // sum, share and product round once each (2^-24), of values up to 4
        CHECK(sum[count] == sentinel);
        CHECK(gradient[count] == sentinel);
    });
}

TEST_CASE("a gradient longer than its bound is shortened to it, a shorter one left alone") {
    on_everything([](std::int64_t count) {
        const std::vector<double> g = random_values(count, 3);
        double squared = 0;
        for (const double x : g) squared += x * x;
        const double norm = std::sqrt(squared);
        std::vector<float> gradient = guarded(g);
        for (const double largest : {norm, 2 * norm}) {
            cpu::clip_gradient(count, largest, &squared, gradient.data());
            CHECK((gradient == guarded(g)));
        }
        cpu::clip_gradient(count, norm / 7, &squared, gradient.data());
        double worst = 0, left = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            worst = std::max(worst, std::abs(gradient[i] - g[i] / 7) / std::abs(g[i] / 7 + 1e-30));
            left += double(gradient[i]) * gradient[i];
        }
        CHECK(worst < 1.2e-7);  // the factor and a product, 2^-24 each
        CHECK(std::sqrt(left) == doctest::Approx(norm / 7).epsilon(1.2e-7));
        CHECK(gradient[count] == sentinel);
    });
}

TEST_CASE("a gradient that is not finite does not become one that is") {
    constexpr float infinite = std::numeric_limits<float>::infinity();
    for (const double squared : {double(infinite), std::numeric_limits<double>::quiet_NaN()}) {
        std::vector<float> gradient{1.0f, infinite};
        cpu::clip_gradient(2, 1, &squared, gradient.data());
        CHECK(!std::isfinite(gradient[1]));
    }
}

TEST_CASE("weights decay where they are told to, by the rate times the decay") {
    on_everything([](std::int64_t count) {
        const std::vector<double> start = random_values(count, 4);
        std::vector<float> w = guarded(start);
        const std::vector<Span> spans =
            count > 1 ? std::vector<Span>{{0, count / 3}, {count / 2, count - count / 2}}
                      : std::vector<Span>{{0, 1}};
        const StepFactors factors{AdamStep(Adam{.rate = 0.25, .weight_decay = 0.5})};
        cpu::decay_weights(factors, {spans.data(), int(spans.size()), count}, w.data());
        for (std::int64_t i = 0; i < count; ++i) {
            bool decays = false;
            for (const Span& s : spans) decays = decays || (i >= s.first && i < s.first + s.count);
            CHECK(w[i] == float(start[i]) * (decays ? 0.875f : 1.0f));  // exact: 7/8
        }
        CHECK(w[count] == sentinel);
    });
}

TEST_CASE("an average follows the weights, closely at first") {
    on_everything([](std::int64_t count) {
        std::vector<double> exact = random_values(count, 5);
        std::vector<float> average = guarded(exact);
        for (int t = 1; t <= 30; ++t) {
            const std::vector<double> w = random_values(count, 5 + t);
            const std::vector<float> weights = guarded(w);
            const double d = std::min(0.6, (1.0 + t) / (10.0 + t));
            cpu::average_weights(StepFactors{AdamStep(Adam{.step = t, .ema = 0.6})}, count, weights.data(),
                                 average.data());
            double worst = 0;
            for (std::int64_t i = 0; i < count; ++i) {
                exact[i] = d * exact[i] + (1 - d) * w[i];
                worst = std::max(worst, std::abs(average[i] - exact[i]));
            }
            // Factor, difference and sum round once each, of values up to 8; what went before fades as 0.6ᵗ.
            CHECK(worst < 3 * 6e-8 * 8 / (1 - 0.6));
        }
        CHECK(average[count] == sentinel);
    });
}

TEST_CASE("a schedule's factors are those of the step that its counter names") {
    const std::vector<AdamStep> steps = {AdamStep(Adam{.rate = 0.5, .weight_decay = 1}),
                                         AdamStep(Adam{.rate = 0.25, .weight_decay = 1})};
    std::uint32_t counter = 0;
    const StepFactors factors(steps.data(), &counter);
    const Span span{0, 1};
    float w = 1;
    for (const float expected : {0.5f, 0.375f}) {
        cpu::decay_weights(factors, {&span, 1, 1}, &w);
        CHECK(w == expected);
        ++counter;
    }
}
