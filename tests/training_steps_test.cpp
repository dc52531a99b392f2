// Both ways of taking training steps give the same losses and weights, bit for bit on one backend: batches
// from the host, and a recorded step that is replayed on a resident training set, or on batches uploaded to
// it.
#include "engine/training_steps.h"

#include <doctest/doctest.h>

#include <limits>

#include "engine/file.h"
#include "engine/image.h"
#include "engine/unet.h"
#include "kernels/threads.h"
#include "tests/temporary_folder.h"

using namespace tvmap;

namespace {

enum class Way { host, resident, uploaded };

/// Pictures, and a configuration that uses all that a step can: crops, mirrors, a drawn σ, a schedule.
struct Workshop {
    TemporaryFolder folder;
    Config config;
    Algorithms algorithms;  // chosen by the first plan, taken by all

    Workshop() {
        set_threads(1);
        for (int k = 0; k < 7; ++k) {
            Picture picture{24, 24, 1, 8, std::vector<float>(24 * 24)};
            for (int i = 0; i < 24; ++i)
                for (int j = 0; j < 24; ++j)
                    picture.values[i * 24 + j] = float((i / 6 * 5 + j / 8 * 3 + k * 7) % 11) / 10.0f;
            write_png(folder / ("image_" + std::to_string(k) + ".png"), picture);
        }
        config.data.size = 24;
        config.network.channels = {4, 6};
        config.solver.iterations = 6;
        config.optimiser.rate = 2e-3;
        config.optimiser.cosine = true;
        config.optimiser.warmup = 4;
        config.train.epochs = 3;
        config.train.batch = 2;  // three steps an epoch, one image left over
        config.train.crop = 16;
        config.train.flip = true;
    }
};

/// A network in training.
struct Training {
    std::unique_ptr<Backend> backend = make_backend("cpu");
    Dataset data;
    Model model;
    Plan plan;
    Parameters parameters;
    Arena arena;

    explicit Training(Workshop& w)
        : data(w.folder / "", w.config.data.size, 7),
          model(record_training_model(*backend, w.config, w.config.train.batch, Batches::side(w.config),
                                      Batches::side(w.config))),
          plan(std::move(model.graph), *backend, w.algorithms, true),
          parameters(*backend, plan.graph().parameters(), true),
          arena(*backend, plan.arena_bytes()) {
        plan.bind(arena, parameters);
        parameters.initialise(w.config.seed);
    }

    std::unique_ptr<TrainingSteps> steps(const Config& config, Way way, int epoch, int step) {
        const TrainingParts parts{*backend, config, data, plan, parameters, model.noisy, model.target};
        if (way == Way::host) return std::make_unique<HostSteps>(parts, epoch, step);
        return std::make_unique<ResidentSteps>(parts, epoch, step, way == Way::resident);
    }
};

struct Outcome {
    std::vector<double> losses;
    std::vector<float> weights;
};

/// Nine steps, three epochs of three; `leave` > 0: left after at least so many of them and taken up again.
Outcome train(Workshop& w, Way way, int leave = 0) {
    Training training(w);
    Outcome outcome;
    auto steps = training.steps(w.config, way, 1, 0);
    while (outcome.losses.size() < 9) {
        if (leave > 0 && int(outcome.losses.size()) >= leave) {
            const int done = int(outcome.losses.size());
            steps = training.steps(w.config, way, 1 + done / 3, done % 3);
            leave = 0;
        }
        const std::vector<double>& taken = steps->take();
        REQUIRE(!taken.empty());
        outcome.losses.insert(outcome.losses.end(), taken.begin(), taken.end());
    }
    outcome.weights = training.parameters.host_weights();
    return outcome;
}

}  // namespace

TEST_CASE("from the host, resident or uploaded, in one go or resumed: the same losses and weights") {
    Workshop w;
    SUBCASE("crops") {}
    SUBCASE("whole images, separate maps, log_mse, one at a time") {
        w.config.train.crop = 0;
        w.config.train.loss = LossKind::log_mse;
        w.config.map.separate = true;
        w.config.noise.relative_to_image_std = false;
    }
    const Outcome expected = train(w, Way::host);
    REQUIRE(expected.losses.size() == 9);
    CHECK(expected.losses[0] != expected.losses[3]);
    for (const Way way : {Way::host, Way::resident, Way::uploaded})
        for (const int leave : {0, 1, 3, 5}) {
            CAPTURE(int(way));
            CAPTURE(leave);
            const Outcome outcome = train(w, way, leave);
            CHECK(outcome.losses == expected.losses);
            CHECK(outcome.weights == expected.weights);
        }
}

TEST_CASE("resident steps are taken several at a time, never beyond the epoch's end") {
    Workshop w;
    w.config.train.batch = 1;  // seven steps an epoch
    Training training(w);
    const auto steps = training.steps(w.config, Way::resident, 1, 0);
    CHECK(steps->take().size() == 1);  // to see how long one takes
    // One of this size takes some 0.1 ms, so that whole epochs fit into the interval of 50 ms; on a machine
    // under load, at least now and then several steps do.
    std::size_t most = 0;
    for (std::size_t epoch = 1, done = 1; epoch <= 20; ++epoch, done = 0) {
        while (done < 7) {
            const std::size_t taken = steps->take().size();
            most = std::max(most, taken);
            done += taken;
        }
        CHECK(done == 7);
    }
    CHECK(most > 1);
}

TEST_CASE("a loss that is not finite is told like any other") {
    Workshop w;
    for (const Way way : {Way::host, Way::resident}) {
        Training training(w);
        std::vector<float> weights = training.parameters.host_weights();
        weights[0] = std::numeric_limits<float>::quiet_NaN();
        training.parameters.set_host_weights(weights);
        CHECK(!std::isfinite(training.steps(w.config, way, 1, 0)->take()[0]));
    }
}

TEST_CASE("the items of an epoch: every image at most once, squares inside, by the epoch alone") {
    Workshop w;
    const Dataset data(w.folder / "", 24, 7);
    const auto items = epoch_items(w.config, data, 2), again = epoch_items(w.config, data, 2),
               other = epoch_items(w.config, data, 3);
    REQUIRE(items.size() == 6);
    std::vector<int> seen(7, 0);
    bool differs = false;
    for (int i = 0; i < 6; ++i) {
        const BatchItem& item = items[i];
        REQUIRE(item.image < 7);
        CHECK(++seen[item.image] == 1);
        CHECK(std::min(item.top, item.left) >= 0);
        CHECK(std::max(item.top, item.left) <= 24 - 16);
        CHECK((item.mirror == 0 || item.mirror == 1));
        CHECK(item.epoch == 2);
        const double sigma = item.scale / data.deviation(int(item.image));
        CHECK(sigma >= doctest::Approx(0.1));
        CHECK(sigma <= doctest::Approx(0.5));
        CHECK(again[i].image == item.image);
        CHECK(again[i].scale == item.scale);
        differs = differs || other[i].image != item.image;
    }
    CHECK(differs);
}

TEST_CASE("what is predicted for the device is what the arrays take") {
    Workshop w;
    CHECK(ResidentSteps::image_bytes(w.config, 7) == 7 * 24 * 24 * sizeof(float));
    CHECK(ResidentSteps::schedule_bytes(w.config, 7) ==
          4 + 3 * (sizeof(AdamStep) + 8 + 2 * sizeof(BatchItem)));
}
