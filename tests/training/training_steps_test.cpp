// Both ways of taking training steps give the same losses and weights, bit for bit on one backend: batches
// from the host, and a recorded step that is replayed on a resident training set, or on batches uploaded to
// it.
#include "engine/training/training_steps.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/base/error.h"
#include "tests/training/training_steps_case.h"

using namespace tvmap;
using namespace tvmap::tests;

TEST_CASE("from the host, resident or uploaded, in one go or resumed: the same losses and weights") {
    Workshop w;
    SUBCASE("crops") {}
    SUBCASE("turns, two batches a step, and an optimiser with all that it can do") {
        w.config.train.batch = 1;
        w.config.train.accumulate = 2;
        w.config.train.rotate = true;
        w.config.train.ema = 0.9;
        w.config.optimiser.decoupled_decay = true;
        w.config.optimiser.clip = 1e-3;
    }
    SUBCASE("whole images, separate maps, log_mse, one at a time") {
        w.config.train.crop = 0;
        w.config.train.loss = LossKind::log_mse;
        w.config.map.separate = true;
        w.config.noise.relative_to_image_std = false;
    }
    const Outcome expected = train(w, make_backend("cpu"), Way::host);
    REQUIRE(expected.losses.size() == 9);
    CHECK(expected.losses[0] != expected.losses[3]);
    for (const Way way : {Way::host, Way::resident, Way::uploaded})
        for (const int leave : {0, 1, 3, 5}) {
            CAPTURE(int(way));
            CAPTURE(leave);
            const Outcome outcome = train(w, make_backend("cpu"), way, leave);
            CHECK(outcome.losses == expected.losses);
            CHECK(outcome.weights == expected.weights);
            CHECK(outcome.averages == expected.averages);
        }
}

TEST_CASE("resident steps are taken several at a time, never beyond the epoch's end") {
    Workshop w;
    w.config.train.batch = 1;  // seven steps an epoch
    Training training(w, make_backend("cpu"));
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
    for (const double up_bound : {0.0, 1.0})
        for (const Way way : {Way::host, Way::resident}) {
            w.config.map.up_bound = up_bound;
            Training training(w, make_backend("cpu"));
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

TEST_CASE("what goes wrong in the thread that prepares batches is thrown by the one that takes them") {
    Workshop w;
    w.config.train.crop = 2 * w.config.data.size;  // more than there is: the copy fails
    const Dataset data(w.folder / "", w.config.data.size, 7);
    Batches batches(w.config, data, 1, 0);
    for (int again = 0; again < 2; ++again) CHECK_THROWS_AS(batches.next(), Error);
}

TEST_CASE("steps that there are not are refused") {
    const Workshop w;
    const Dataset data(w.folder / "", w.config.data.size, 7);
    const int steps = Batches::steps_per_epoch(w.config, data);
    for (const auto& [epoch, step] : {std::pair{0, 0}, {-1, 0}, {1, -1}, {1, steps}, {1, 2000000000}})
        CHECK_THROWS_AS(Batches(w.config, data, epoch, step), Error);
    CHECK_NOTHROW(Batches(w.config, data, 1, steps - 1));
}
