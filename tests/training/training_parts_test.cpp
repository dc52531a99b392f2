// A training run is, step by step, what its parts do; its learning rates; and it lowers the loss.
#include <doctest/doctest.h>

#include "engine/data/noise.h"
#include "engine/graph/plan.h"
#include "engine/model/checkpoint.h"
#include "engine/model/unet.h"
#include "engine/training/batches.h"
#include "engine/training/training_steps.h"
#include "tests/training/trainer_case.h"

using namespace tvmap;
using trainer_case::Workshop;

TEST_CASE("learning rates") {
    OptimiserConfig o;
    o.rate = 1e-3;
    for (const int step : {1, 50, 100}) CHECK(learning_rate(o, step, 100) == 1e-3);
    o.warmup = 4;
    CHECK(learning_rate(o, 1, 100) == doctest::Approx(0.25e-3));
    CHECK(learning_rate(o, 3, 100) == doctest::Approx(0.75e-3));
    CHECK(learning_rate(o, 4, 100) == doctest::Approx(1e-3));
    CHECK(learning_rate(o, 5, 100) == doctest::Approx(1e-3));
    o.schedule = RateSchedule::cosine;
    CHECK(learning_rate(o, 2, 104) == doctest::Approx(0.5e-3));
    CHECK(learning_rate(o, 4, 104) == doctest::Approx(1e-3));
    CHECK(learning_rate(o, 29, 104) == doctest::Approx(1e-3 * 0.8535533906));  // (1 + cos π/4)/2
    CHECK(learning_rate(o, 54, 104) == doctest::Approx(0.5e-3));
    CHECK(std::abs(learning_rate(o, 104, 104)) < 1e-15);
    o.warmup = 0;
    CHECK(learning_rate(o, 1, 2) == doctest::Approx(0.5e-3));
    double previous = 1;
    for (int step = 1; step <= 100; ++step) {
        CHECK(learning_rate(o, step, 100) < previous);
        previous = learning_rate(o, step, 100);
    }
}

// Shuffling, crops, noise, gradient, Adam and schedule called by hand, in the order that a run takes them.
TEST_CASE("a run is what its parts do") {
    Workshop w;
    Config& c = w.config;
    c.optimiser.schedule = RateSchedule::cosine;
    c.optimiser.warmup = 2;
    c.train.epochs = 2;
    CHECK(w.train("run"));

    const auto backend = make_backend("cpu");
    Algorithms algorithms = Algorithms::read(w.folder / "run/algorithms.json");
    RecordedModel model = record_training_model(*backend, c, 2, 24, 24);
    Plan plan(std::move(model.graph), *backend, algorithms, true);
    Parameters parameters(*backend, plan.graph().parameters(), true);
    const Arena arena(*backend, plan.arena_bytes());
    plan.bind(arena, parameters);
    parameters.initialise(c.seed);
    const Dataset data(c.data.train, 24, 7);
    const int pixels = 24 * 24;
    int step = 0;
    for (std::uint32_t epoch = 1; epoch <= 2; ++epoch) {
        const std::vector<int> order = shuffled(c.seed, epoch, 7);
        double sum = 0;
        for (int first = 0; first < 6; first += 2) {
            for (int n = 0; n < 2; ++n) {
                float* clean = plan.view(model.target).data + n * pixels;
                data.copy(order[first + n], clean);
                make_noisy({c.noise, c.noise.sigma, c.seed, epoch}, data, order[first + n], pixels, clean,
                           plan.view(model.noisy).data + n * pixels);
            }
            plan.forward();
            plan.backward();
            ++step;
            parameters.adam_step({learning_rate(c.optimiser, step, 6), c.optimiser.beta1, c.optimiser.beta2,
                                  c.optimiser.eps, step});
            sum += plan.loss();
        }
        CHECK(std::stod(w.column("run", "loss")[epoch - 1]) == doctest::Approx(sum / 3).epsilon(1e-8));
    }
    Parameters trained(*backend, plan.graph().parameters(), true);
    read_checkpoint(w.folder / "run/checkpoints/last.safetensors", trained);
    CHECK(trained.host_weights() == parameters.host_weights());
}

TEST_CASE("training lowers the loss") {
    Workshop w;
    w.config.train.epochs = 25;
    w.config.train.validate_every = 25;
    w.config.optimiser.rate = 1e-2;
    w.config.train.loss = LossKind::log_mse;
    CHECK(w.train("run"));
    const auto loss = w.column("run", "loss");
    MESSAGE("log of the mean squared error " << loss.front() << " -> " << loss.back());
    // From a map that hardly acts to one that denoises: at least 1 dB, 0.23 in the logarithm.
    CHECK(std::stod(loss.back()) < std::stod(loss.front()) - 0.23);
}
