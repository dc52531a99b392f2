// When a training run ends, besides after its epochs: since validation gets no better, or since its time is up.
#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "engine/training/metrics_file.h"
#include "tests/support/refusal.h"
#include "tests/training/trainer_case.h"

using namespace tvmap;
using trainer_case::Workshop;

namespace {

Progress reached(const Workshop& w, const std::string& run, const char* name = "last") {
    return read_progress(w.folder / (run + "/checkpoints/" + name + ".safetensors"));
}

/// At this rate nothing is learned: validation is best after the first epoch.
void learn_nothing(Workshop& w) {
    w.config.optimiser.rate = 0;
    w.config.train.epochs = 20;
    w.config.train.stop_after = 4;
}

}  // namespace

TEST_CASE("a run ends when so many validations in a row are no better") {
    Workshop w;
    learn_nothing(w);
    CHECK(w.train("run"));
    CHECK(w.column("run", "epoch").size() == 5);
    CHECK(reached(w, "run").epoch == 5);
    CHECK(reached(w, "run").best_epoch == 1);
    CHECK(has(w.file("run", "log.txt"), "stopped early, after 4 validations that were no better"));
    CHECK(w.train("run", true));  // and stays ended
    CHECK(reached(w, "run").epoch == 5);
    w.config.train.stop_after = 6;  // until it is to go on
    CHECK(w.train("run", true));
    CHECK(reached(w, "run").epoch == 7);

    w.config.train.validate_every = 3;
    w.config.train.stop_after = 2;
    CHECK(w.train("rarely"));
    CHECK(reached(w, "rarely").epoch == 9);  // validations after 3, 6 and 9
}

TEST_CASE("a run that gets better all the time is not ended early, and is the run that it would be") {
    Workshop w;
    CHECK(w.train("plain"));
    w.config.train.stop_after = 1;
    CHECK(w.train("patient"));
    CHECK(reached(w, "patient").best_epoch == 3);
    CHECK(w.metrics("plain") == w.metrics("patient"));
}

TEST_CASE("what validations were no better is not forgotten by a run that is resumed") {
    Workshop w;
    learn_nothing(w);
    CHECK(w.train("whole"));
    CHECK_FALSE(w.train("parts", false, 0));
    int processes = 1;
    while (!w.train("parts", true, 1)) REQUIRE(++processes < 30);
    CHECK(processes == 15);  // three steps an epoch
    w.check_same("whole", "parts");
}

TEST_CASE("a run by time ends when its time is up, with its schedule finished") {
    Workshop w;
    w.config.train.epochs = 1;  // not what ends it
    w.config.optimiser.schedule = RateSchedule::cosine;
    w.config.train.time = 20;
    const auto start = std::chrono::steady_clock::now();
    double longest = 0;
    {
        const std::atomic<bool> stop{false};
        Trainer trainer(w.config, w.folder / "run", false);
        auto before = std::chrono::steady_clock::now();
        CHECK(trainer.run(
            [&](const TrainReport& report) {
                const auto now = std::chrono::steady_clock::now();
                longest = std::max(longest, std::chrono::duration<double>(now - before).count());
                before = now;
                CHECK(report.epochs == 0);
            },
            stop));
    }
    const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    MESSAGE(taken << " seconds of 20; the longest between two reports was " << longest);
    // 2 % of it; a machine that gives a single step or validation longer than that cannot do better than that.
    CHECK(std::abs(taken - 20) < std::max(0.4, 2 * longest));
    const std::vector<MetricsFile::Row> rows = MetricsFile::rows(w.folder / "run");
    REQUIRE(rows.size() > 10);
    CHECK(rows.front().rate > 0.9 * w.config.optimiser.rate);
    // What is kept back for the end is measured again at each validation: 5 ms of 20 s move the cosine by 4e-4 at most.
    for (std::size_t i = 1; i < rows.size(); ++i)
        CHECK(rows[i].rate <= rows[i - 1].rate + 1e-3 * w.config.optimiser.rate);
    // (π/2·1 %)² of the rate is left a hundredth of the run before its end.
    CHECK(rows.back().rate < 3e-3 * w.config.optimiser.rate);
    CHECK(rows.back().validated);
    CHECK(reached(w, "run").time >= 20);
    CHECK(reached(w, "run").steps == rows.back().steps);
    CHECK(has(w.file("run", "log.txt"), "no two runs by time have the same bits"));
    const std::string ended = w.checkpoint("run");
    CHECK(w.train("run", true));  // it is finished
    CHECK((w.checkpoint("run") == ended));
}

TEST_CASE("a run by time goes on with what is left of it, and longer where it is told so by name") {
    Workshop w;
    w.config.optimiser.schedule = RateSchedule::cosine;
    w.config.train.time = 3;
    CHECK_FALSE(w.train("run", false, 4));
    const double used = reached(w, "run").time;
    CHECK(used > 0);
    CHECK(used < 3);
    const std::int64_t steps = reached(w, "run").steps;
    CHECK(w.train("run", true));
    const Progress end = reached(w, "run");
    CHECK(end.time >= 3);
    CHECK(end.steps > steps);

    w.config.train.time = 4;
    CHECK(has(refusal([&] { w.train("run", true); }), "--change train.time"));
    {
        const std::atomic<bool> stop{false};
        Trainer trainer(w.config, w.folder / "run", true, nullptr, {"train.time"});
        CHECK(trainer.run([](const TrainReport&) {}, stop));
    }
    CHECK(reached(w, "run").time >= 4);
    CHECK(reached(w, "run").steps > end.steps);
    w.config.train.time = 0;
    CHECK(has(refusal([&] { w.train("run", true); }), "train.time: 4, not 0"));
}

TEST_CASE("a run by time that is told to stop is kept, at any moment") {
    Workshop w;
    w.config.train.time = 1e6;
    for (const int steps : {0, 1, 3, 5}) {
        CHECK_FALSE(w.train("run", true, steps));
        CHECK(reached(w, "run").time < 1e5);
    }
    CHECK(reached(w, "run").steps >= 9);
}
