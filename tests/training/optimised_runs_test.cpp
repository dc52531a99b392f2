// Training runs with all that an optimiser can do: resumed to the same bits, with what their checkpoints must hold.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/files/safetensors.h"
#include "engine/optimiser/optimiser.h"
#include "engine/training/batches.h"
#include "engine/training/training_plan.h"
#include "tests/support/refusal.h"
#include "tests/training/trainer_case.h"

using namespace tvmap;
using trainer_case::Workshop;

TEST_CASE("a run with any of it goes on to the same bits after every single step") {
    Workshop w;
    SUBCASE("a moving average") { w.config.train.ema = 0.9; }
    SUBCASE("an average on two threads, of batches in parts") {
        set_threads(2);
        w.config.train.ema = 0.9;
        w.config.train.batch = 4;
        w.config.data.limit.train = 7;
    }
    SUBCASE("AdamW") {
        w.config.optimiser.decoupled_decay = true;
        w.config.optimiser.weight_decay = 0.5;
    }
    SUBCASE("clipping") { w.config.optimiser.clip = 1e-3; }
    SUBCASE("milestones") {
        w.config.optimiser.schedule = RateSchedule::step;
        w.config.optimiser.milestones = {0.3, 0.6};
    }
    SUBCASE("turns") { w.config.train.rotate = true; }
    SUBCASE("several batches a step") { w.config.train.accumulate = 3; }
    SUBCASE("everything") {
        w.config.train.ema = 0.9;
        w.config.optimiser.decoupled_decay = true;
        w.config.optimiser.clip = 1e-3;
        w.config.optimiser.schedule = RateSchedule::step;
        w.config.train.rotate = w.config.train.flip = true;
        w.config.train.batch = 1;
        w.config.train.accumulate = 3;
        w.config.train.crop = 16;
    }
    Config plain = w.config;
    plain.optimiser = Config{}.optimiser;
    plain.optimiser.rate = w.config.optimiser.rate;
    plain.train.ema = 0;
    plain.train.rotate = false;
    plain.train.accumulate = 1;
    CHECK(w.train(plain, "plain"));
    CHECK(w.train("whole"));
    CHECK((w.checkpoint("whole") != w.checkpoint("plain")));
    CHECK_FALSE(w.train("parts", false, 0));
    int processes = 1;
    while (!w.train("parts", true, 1)) REQUIRE(++processes < 20);
    w.check_same("whole", "parts");
}

TEST_CASE(
    "a checkpoint holds the average under the weights' names, and beside it what training goes on from") {
    Workshop w;
    CHECK(w.train("plain"));
    w.config.train.ema = 0.9;
    CHECK(w.train("averaged"));
    const auto tensors = [&](const std::string& run, const std::string& name) {
        return read_safetensors(w.folder / (run + "/checkpoints/" + name + ".safetensors")).tensors;
    };
    const auto plain = tensors("plain", "last"), averaged = tensors("averaged", "last");
    int weights = 0;
    for (const auto& [name, tensor] : plain) {
        CAPTURE(name);
        if (name.starts_with("optimiser.")) {
            CHECK(averaged.at(name).values == tensor.values);
            continue;
        }
        // An average is no part of the optimisation: the weights are those of the run without it.
        CHECK(averaged.at("optimiser.w." + name).values == tensor.values);
        CHECK(averaged.at(name).values != tensor.values);
        ++weights;
    }
    CHECK(averaged.size() == plain.size() + std::size_t(weights));

    // What is validated, and is the best one, is the average: its PSNR is another than that of the same weights.
    CHECK(w.column("plain", "loss") == w.column("averaged", "loss"));
    CHECK(w.column("plain", "val_noisy_psnr") == w.column("averaged", "val_noisy_psnr"));
    CHECK(w.column("plain", "val_psnr") != w.column("averaged", "val_psnr"));
}

TEST_CASE("the average of a run is that of its weights after each step") {
    Workshop w;
    w.config.train.ema = 0.8;
    std::vector<double> exact;
    int t = 0;
    const auto last = [&](const std::string& prefix) {
        const SafeTensors file = read_safetensors(w.folder / "run/checkpoints/last.safetensors");
        std::vector<double> values;
        for (const auto& [name, tensor] : file.tensors) {
            const bool wanted = prefix.empty() ? !name.starts_with("optimiser.") : name.starts_with(prefix);
            if (wanted) values.insert(values.end(), tensor.values.begin(), tensor.values.end());
        }
        return values;
    };
    CHECK_FALSE(w.train("run", false, 0));  // the checkpoint of the first weights
    exact = last("optimiser.w.");
    CHECK(last("") == exact);
    for (bool finished = false; !finished;) {
        finished = w.train("run", true, 1);
        const std::vector<double> weights = last("optimiser.w."), average = last("");
        if (read_progress(w.folder / "run/checkpoints/last.safetensors").steps == t) continue;
        ++t;
        const double d = std::min(0.8, (1.0 + t) / (10.0 + t));
        double worst = 0;
        for (std::size_t i = 0; i < exact.size(); ++i) {
            exact[i] = d * exact[i] + (1 - d) * weights[i];
            worst = std::max(worst, std::abs(average[i] - exact[i]));
        }
        CHECK(worst < t * 3 * 6e-8);  // three roundings a step of weights below 1, 2^-24
    }
    CHECK(t == 9);
}

TEST_CASE("an epoch is of whole steps, and a step of as many batches as it is told") {
    Workshop w;
    w.config.train.batch = 1;
    w.config.train.accumulate = 3;
    CHECK(w.train("run"));
    CHECK(w.column("run", "steps") == std::vector<std::string>{"2", "4", "6"});
    w.config.train.accumulate = 8;
    CHECK(has(refusal([&] { w.train("none"); }), "train.accumulate: 8"));
    CHECK_FALSE(std::filesystem::exists(w.folder / "none"));
}

TEST_CASE("two batches of one and a batch of two are the same step, to rounding") {
    Workshop w;
    w.config.train.epochs = 1;
    CHECK(w.train("together"));
    w.config.train.batch = 1;
    w.config.train.accumulate = 2;
    CHECK(w.train("apart"));
    // Convolutions of other sizes add up in another order, three times after each other.
    CHECK(std::stod(w.column("apart", "loss")[0]) ==
          doctest::Approx(std::stod(w.column("together", "loss")[0])).epsilon(1e-5));
}

TEST_CASE("squares are turned by all quarters, as often as each other and whatever else is drawn") {
    Workshop w;
    w.config.train.batch = 1;
    w.config.train.flip = w.config.train.rotate = true;
    const Dataset data(w.config.data.train, 24, 7);
    std::vector<int> counts(8, 0);
    const int epochs = 400;
    for (int epoch = 1; epoch <= epochs; ++epoch) {
        Config without = w.config;
        without.train.rotate = false;
        const auto items = epoch_items(w.config, data, epoch), plain = epoch_items(without, data, epoch);
        for (std::size_t i = 0; i < items.size(); ++i) {
            REQUIRE((items[i].quarters >= 0 && items[i].quarters < 4));
            ++counts[std::size_t(4 * items[i].mirror + items[i].quarters)];
            CHECK(plain[i].quarters == 0);
            CHECK(plain[i].mirror == items[i].mirror);
            CHECK(plain[i].image == items[i].image);
            CHECK(plain[i].scale == items[i].scale);
        }
    }
    double chi = 0;
    for (const int count : counts) chi += std::pow(count - 7.0 * epochs / 8, 2) / (7.0 * epochs / 8);
    CHECK(
        chi <
        24.3);  // chi² of 7 degrees of freedom is larger by chance once in a thousand times; the seed is fixed
}

TEST_CASE("the memory of an average and of a sum is planned") {
    Workshop w;
    const auto backend = make_backend("cpu");
    Algorithms algorithms;
    const auto planned = [&] {
        TrainingPlan plan(*backend, w.config, algorithms, {7, 2});
        const Parameters parameters(*backend, plan.steps[0]->graph().parameters(), true, plan.parts(),
                                    Optimiser::kept(w.config));
        CHECK(parameters.bytes() == plan.parameter_bytes);
        CHECK(plan.memory["parameters"].predicted == plan.parameter_bytes);
        return plan.parameter_bytes;
    };
    const std::size_t before = planned(), each = before / 4;
    w.config.train.ema = 0.9;
    CHECK(planned() == before + each);
    w.config.train.accumulate = 2;
    CHECK(planned() == before + 2 * each);
}
