// A batch in parts, each taken by a thread on its own: the losses and weights of the batch as a whole, the same bits every
// time, and the memory that was planned.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/training/training_plan.h"
#include "engine/training/training_steps.h"
#include "kernels/optimiser/average.h"
#include "tests/training/training_steps_case.h"

using namespace tvmap;
using namespace tvmap::tests;

namespace {

/// A training as the trainer makes it, with so many threads.
struct PlannedTraining {
    std::unique_ptr<Backend> backend = make_backend("cpu");
    const Config& config;
    Dataset data;
    TrainingPlan plan;
    Parameters parameters;
    std::vector<std::unique_ptr<Arena>> arenas;

    explicit PlannedTraining(Workshop& w)
        : config(w.config),
          data(w.folder / "", w.config.data.size, 7),
          plan(*backend, w.config, w.algorithms, {7, 1}),
          parameters(*backend, plan.steps[0]->graph().parameters(), true, plan.parts()) {
        for (const auto& step : plan.steps)
            bind(*step, arenas.empty() ? plan.arena_bytes : step->arena_bytes());
        parameters.initialise(config.seed);
    }

    void bind(Plan& part, std::size_t bytes) {
        const int number = int(arenas.size());
        arenas.push_back(std::make_unique<Arena>(*backend, bytes));
        std::memset(arenas.back()->memory(), 0xff, bytes);  // NaN: nothing counts on zeros
        part.bind(*arenas.back(), parameters, number);
    }
    std::vector<PlacedPlan> placed() const {
        std::vector<PlacedPlan> all;
        for (const auto& step : plan.steps) all.push_back({step.get(), arenas[all.size()].get()});
        return all;
    }
    Outcome train(int steps) {
        std::vector<Plan*> plans;
        for (const auto& step : plan.steps) plans.push_back(step.get());
        const TrainingParts parts{*backend, config, data, plans, parameters, plan.noisy, plan.target, {}};
        HostSteps all(parts, 1, 0);
        Outcome outcome;
        for (int k = 0; k < steps; ++k) outcome.losses.push_back(all.take()[0]);
        outcome.weights = parameters.host_weights();
        return outcome;
    }
};

/// ‖a − b‖ / ‖b‖
double difference(const std::vector<float>& a, const std::vector<float>& b) {
    double of_both = 0, of_b = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        of_both += std::pow(double(a[i]) - b[i], 2);
        of_b += double(b[i]) * b[i];
    }
    return std::sqrt(of_both / of_b);
}

}  // namespace

TEST_CASE("parts of a batch: losses and weights of the whole, the same bits every time") {
    Workshop w;
    w.config.train.epochs = 6;
    SUBCASE("squares") {}
    SUBCASE("log_mse, separate maps") {
        w.config.train.loss = LossKind::log_mse;
        w.config.map.separate = true;
    }
    SUBCASE("learned steps") { w.config.solver.train_steps = TrainSteps::shared; }
    for (const auto& sizes : {std::pair{2, 2}, {6, 2}, {6, 3}}) {
        const int batch = sizes.first, threads = sizes.second;
        CAPTURE(batch);
        CAPTURE(threads);
        w.config.train.batch = batch;
        set_threads(1);
        PlannedTraining alone(w);
        CHECK(alone.plan.parts() == 1);
        const Outcome whole = alone.train(6);
        set_threads(threads);
        PlannedTraining together(w), again(w);
        CHECK(together.plan.parts() == threads);
        const Outcome parts = together.train(6);
        CHECK(thread_count() == threads);
        // Sums in another order, in float: some 1e-7 in a gradient, which Adam's first steps, of one size whatever
        // the gradient's, make more of where it is close to zero.
        for (int k = 0; k < 6; ++k) CHECK(parts.losses[k] == doctest::Approx(whole.losses[k]).epsilon(1e-4));
        CHECK(parts.losses[0] == doctest::Approx(whole.losses[0]).epsilon(1e-6));
        CHECK(difference(parts.weights, whole.weights) < 1e-3);
        set_threads(threads - 1);  // fewer take the same parts
        const Outcome repeated = again.train(6);
        CHECK(repeated.losses == parts.losses);
        CHECK(repeated.weights == parts.weights);
    }
    set_threads(1);
}

TEST_CASE("how many parts: threads that do not divide a batch, and a limit, leave it whole") {
    Workshop w;
    w.config.train.batch = 3;
    set_threads(2);
    CHECK(PlannedTraining(w).plan.parts() == 1);
    for (const auto& [batch, parts] : {std::pair{1, 1}, {2, 2}, {8, 2}, {16, 4}, {32, 8}, {64, 8}}) {
        w.config.train.batch = batch;
        CHECK(TrainingPlan(*make_backend("cpu"), w.config, w.algorithms, {64, 1}).parts() == parts);
    }
    w.config.train.batch = 4;
    const std::size_t parts = PlannedTraining(w).plan.memory.predicted();
    w.config.train.memory_limit = parts;
    CHECK(PlannedTraining(w).plan.parts() == 2);
    w.config.train.memory_limit = 1;
    CHECK(PlannedTraining(w).plan.parts() == 1);
    set_threads(1);
}

TEST_CASE("owners share out the memory of all parts to the last byte") {
    Workshop w;
    w.config.train.batch = 4;
    set_threads(2);
    const PlannedTraining training(w);
    REQUIRE(training.plan.parts() == 2);
    MemoryReport memory = training.plan.memory;
    const std::vector<const char*> in_arenas{"values",    "gradients", "saved",
                                             "workspace", "gaps",      "validation"};
    std::size_t placed = 0, tensors = 0;
    for (const auto& arena : training.arenas) placed += arena->bytes();
    for (const char* name : in_arenas) tensors += memory[name].predicted;
    CHECK(tensors == placed);
    CHECK(training.parameters.bytes() == training.plan.parameter_bytes);
    measure(memory, *training.backend, training.placed(), training.parameters, memory.predicted());
    for (const char* name : in_arenas) CHECK(memory[name].measured == memory[name].predicted);
    set_threads(1);
}

TEST_CASE("the mean of arrays") {
    for (const int arrays : {1, 2, 3}) {
        std::vector<float> values(std::size_t(arrays) * 48);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = float(i * i % 89) - 40.0f;
        std::vector<float> mean = values;
        cpu::average(37, arrays, 48, mean.data());
        for (std::size_t i = 0; i < values.size(); ++i) {
            float expected = values[i];
            if (i < 37) {
                for (int k = 1; k < arrays; ++k) expected += values[i + std::size_t(k) * 48];
                if (arrays > 1) expected *= 1.0f / float(arrays);
            }
            CHECK(mean[i] == expected);
        }
    }
}
