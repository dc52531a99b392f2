// Training runs: repeated, interrupted and resumed to the same bits, and refused where they would mix.
#include "engine/training/trainer.h"

#include <doctest/doctest.h>

#include "engine/files/file.h"
#include "engine/pictures/image.h"
#include "kernels/base/error.h"
#include "tests/support/refusal.h"
#include "tests/training/trainer_case.h"

using namespace tvmap;
using trainer_case::Workshop;

TEST_CASE("the same run twice gives the same bits, another seed does not") {
    Workshop w(2);
    CHECK(w.train("one"));
    CHECK(w.train("two"));
    w.check_same("one", "two");
    w.config.seed = 43;
    CHECK(w.train("three"));
    CHECK((w.checkpoint("one") != w.checkpoint("three")));
    CHECK(w.column("one", "epoch") == std::vector<std::string>{"1", "2", "3"});
    CHECK(w.column("one", "steps") == std::vector<std::string>{"3", "6", "9"});
}

TEST_CASE("a run interrupted after every single step and resumed gives the same bits") {
    Workshop w;
    SUBCASE("two threads") { set_threads(2); }
    SUBCASE("validation that gets no better") { w.config.optimiser.rate = 0.3; }
    SUBCASE("crops, flips, two maps, log_mse, schedule") {
        w.config.train.crop = 16;
        w.config.train.flip = true;
        w.config.train.loss = LossKind::log_mse;
        w.config.map.separate = true;
        w.config.optimiser.schedule = RateSchedule::cosine;
        w.config.optimiser.warmup = 4;
        w.config.train.validate_every = 2;
        w.config.train.checkpoint_every = 2;
    }
    CHECK(w.train("whole"));
    CHECK_FALSE(w.train("parts", false, 0));  // before the first step
    int processes = 1;
    while (!w.train("parts", true, 1)) REQUIRE(++processes < 20);
    CHECK(processes == 9);  // the tenth finds nothing left to stop
    w.check_same("whole", "parts");
    if (w.config.optimiser.rate == 0.3) {  // or a best result that a resumed run forgot would not show
        const auto psnr = w.column("whole", "val_psnr");
        REQUIRE(std::stod(psnr[2]) <= std::max(std::stod(psnr[0]), std::stod(psnr[1])));
    }
    CHECK(w.train("parts", true));  // finished already: nothing changes
    w.check_same("whole", "parts");
}

TEST_CASE("resuming where there is no checkpoint yet starts from the start") {
    Workshop w;
    CHECK(w.train("whole"));
    CHECK(w.train("fresh", true));  // not even a folder
    w.check_same("whole", "fresh");
    CHECK(w.train("killed"));
    std::filesystem::remove_all(w.folder / "killed/checkpoints");  // as if it had died before the first one
    CHECK(w.train("killed", true));
    w.check_same("whole", "killed");
}

TEST_CASE("resuming from older checkpoints cuts the metrics back and computes them again") {
    Workshop w;
    CHECK(w.train("whole"));
    CHECK_FALSE(w.train("back", false, 4));
    const std::string early = w.checkpoint("back"), early_best = w.checkpoint("back", "best");
    CHECK(w.train("back", true));
    write_file(w.folder / "back/checkpoints/last.safetensors", early);
    write_file(w.folder / "back/checkpoints/best.safetensors", early_best);
    CHECK_FALSE(w.train("back", true, 0));
    CHECK(w.column("back", "epoch") == std::vector<std::string>{"1"});
    CHECK(w.train("back", true));
    w.check_same("whole", "back");
}

TEST_CASE("a run goes on from the best checkpoint where that is of a later step than the last one") {
    Workshop w;
    CHECK(w.train("whole"));
    const auto reached = [&](const std::string& run, const char* name) {
        return read_progress(w.folder / (run + "/checkpoints/" + name + ".safetensors"));
    };
    REQUIRE(reached("whole", "best").epoch == 3);
    for (const std::string run : {"older", "missing", "older, best without moments"}) {
        CAPTURE(run);
        const bool weights_alone = run.ends_with("moments");
        const std::string last = w.folder / (run + "/checkpoints/last.safetensors");
        CHECK_FALSE(w.train(run, false, 4));
        const std::string early = w.checkpoint(run);
        const auto killed_after_best = [&] {
            if (run == "missing")
                std::filesystem::remove(last);
            else
                write_file(last, early);
            if (!weights_alone) return;
            const std::string best = w.folder / (run + "/checkpoints/best.safetensors");
            SafeTensors file = read_safetensors(best);
            std::erase_if(file.tensors,
                          [](const auto& entry) { return entry.first.starts_with("optimiser."); });
            write_safetensors(best, file);
        };
        CHECK_FALSE(w.train(run, true, 3));
        killed_after_best();
        CHECK_FALSE(w.train(run, true, 0));
        CHECK(reached(run, "last").steps == (weights_alone ? 4 : 6));
        CHECK(reached(run, "last").best_epoch == (weights_alone ? 1 : 2));
        CHECK(w.column(run, "epoch").size() == (weights_alone ? 1 : 2));
        CHECK(w.train(run, true));
        w.check_same("whole", run);
        killed_after_best();
        CHECK(w.train(run, true));  // the best one is of the last epoch
        w.check_same("whole", run);
    }
}

TEST_CASE("the last checkpoint is written when its time has come, when it is stopped and at the end") {
    Workshop w;
    w.config.train.epochs = 4;
    const auto last_epochs = [&](double seconds, const std::string& run) {
        w.config.train.checkpoint_seconds = seconds;
        const std::string last = w.folder / (run + "/checkpoints/last.safetensors");
        std::vector<int> epochs;  // that it had when an epoch was over
        const std::atomic<bool> stop{false};
        Trainer(w.config, w.folder / run, false)
            .run(
                [&](const TrainReport& report) {
                    if (report.step == report.steps_per_epoch)
                        epochs.push_back(std::filesystem::exists(last) ? read_progress(last).epoch : 0);
                },
                stop);
        return epochs;
    };
    CHECK(last_epochs(0, "always") == std::vector<int>{1, 2, 3, 4});
    CHECK(last_epochs(1e6, "rarely") == std::vector<int>{0, 0, 0, 4});
    w.config.train.checkpoint_every = 2;
    CHECK(last_epochs(0, "every second") == std::vector<int>{0, 2, 2, 4});
    // Epochs of any length take longer than a nanosecond.
    CHECK(last_epochs(1e-9, "as soon as may be") == std::vector<int>{0, 2, 2, 4});
    w.config.train.checkpoint_seconds = 1e6;
    CHECK_FALSE(w.train("stopped", false, 2));
    CHECK(read_progress(w.folder / "stopped/checkpoints/last.safetensors").steps == 2);
}

TEST_CASE("a run goes on with more epochs") {
    Workshop w;
    CHECK(w.train("whole"));
    Config shorter = w.config;
    shorter.train.epochs = 1;
    CHECK(w.train(shorter, "longer"));
    CHECK(w.train("longer", true));
    CHECK((w.checkpoint("whole") == w.checkpoint("longer")));
    CHECK(w.metrics("whole") == w.metrics("longer"));
}

TEST_CASE("runs are not mixed up") {
    Workshop w;
    CHECK(w.train("run"));
    const std::string checkpoint = w.checkpoint("run"), config = w.file("run", "config.yaml");
    CHECK(refusal([&] { w.train("run"); }).find("--resume") != std::string::npos);
    Config other = w.config;
    other.optimiser.rate = 1e-3;
    CHECK(refusal([&] { w.train(other, "run", true); }).find("rate") != std::string::npos);
    other = w.config;
    other.network.channels = {4, 8};
    CHECK(refusal([&] { w.train(other, "run", true); }).find("channels") != std::string::npos);
    other = w.config;
    other.solver.gradient.kind = GradientMode::Kind::stored;
    CHECK(refusal([&] { w.train(other, "run", true); }).find("solver.gradient: masks, not stored") !=
          std::string::npos);
    other.solver.gradient.kind = GradientMode::Kind::truncated;
    other.solver.gradient.steps = other.solver.iterations + 1;
    CHECK(refusal([&] { w.train(other, "other"); }).find("gradient truncated") != std::string::npos);
    other = w.config;
    other.train.batch = 8;
    CHECK(refusal([&] { w.train(other, "other"); }).find("batch") != std::string::npos);
    CHECK((w.checkpoint("run") == checkpoint));
    CHECK(w.file("run", "config.yaml") == config);
    CHECK_FALSE(std::filesystem::exists(w.folder / "other"));
}

TEST_CASE("a damaged checkpoint is refused and left as it is") {
    Workshop w;
    CHECK(w.train("run"));
    const std::string damaged = w.checkpoint("run").substr(0, 1000);
    write_file(w.folder / "run/checkpoints/last.safetensors", damaged);
    CHECK(refusal([&] { w.train("run", true); }).find("last.safetensors") != std::string::npos);
    CHECK((w.checkpoint("run") == damaged));
}

TEST_CASE("validation draws the same noise in every epoch") {
    Workshop w;
    CHECK(w.train("run"));
    const auto noisy = w.column("run", "val_noisy_psnr"), psnr = w.column("run", "val_psnr");
    REQUIRE(noisy.size() == 3);
    CHECK(noisy[0] == noisy[1]);
    CHECK(noisy[0] == noisy[2]);
    CHECK(psnr[0] != psnr[1]);
}

TEST_CASE("validation when it is due, and after the last epoch") {
    Workshop w;
    w.config.train.validate_every = 2;
    CHECK(w.train("second"));
    const auto psnr = w.column("second", "val_psnr");
    REQUIRE(psnr.size() == 3);
    CHECK(psnr[0].empty());
    CHECK_FALSE(psnr[1].empty());
    CHECK_FALSE(psnr[2].empty());
}

TEST_CASE("a run goes on with its own images alone") {
    Workshop w;
    CHECK_FALSE(w.train("run", false, 4));
    const std::string before = w.checkpoint("run");
    std::filesystem::rename(w.folder / "train/image_3.png", w.folder / "train/image_9.png");
    CHECK(refusal([&] { w.train("run", true); }).find("not the images") != std::string::npos);
    std::filesystem::remove(w.folder / "train/image_9.png");
    CHECK(refusal([&] { w.train("run", true); }).find("not the images") != std::string::npos);
    CHECK(w.checkpoint("run") == before);
}

TEST_CASE("what a killed process left is cleared") {
    Workshop w;
    CHECK_FALSE(w.train("run", false, 4));
    write_file(w.folder / "run/checkpoints/.tvmap-1-1.tmp", "half");
    write_file(w.folder / "run/.tvmap-1-2.tmp", "half");
    CHECK(w.train("run", true));
    CHECK_FALSE(std::filesystem::exists(w.folder / "run/checkpoints/.tvmap-1-1.tmp"));
    CHECK_FALSE(std::filesystem::exists(w.folder / "run/.tvmap-1-2.tmp"));
}

TEST_CASE("every regulariser trains, goes on to the same bits, and has as many outputs as maps") {
    for (const Regulariser regulariser : {Regulariser::tv8, Regulariser::tgv})
        for (const bool separate : {false, true}) {
            Workshop w;
            w.config.solver.regulariser = regulariser;
            w.config.map.separate = separate;
            w.config.network.outputs = 5;
            w.config.solver.boundary = Boundary::neumann;
            w.config.train.epochs = 2;
            CHECK(w.train("whole"));
            CHECK_FALSE(w.train("parts", false, 4));
            CHECK(w.train("parts", true));
            w.check_same("whole", "parts");
            const auto loss = w.column("whole", "loss");
            CHECK(std::stod(loss.back()) < std::stod(loss.front()));
        }
}

TEST_CASE("every operator trains, goes on to the same bits, and what it was is part of the weights") {
    for (const Sight sight : {Sight::mask, Sight::blur, Sight::downsample, Sight::impulses, Sight::poisson}) {
        Workshop w;
        w.config.solver.observation = {.sight = sight, .blur_size = 3};
        if (sight == Sight::poisson) w.config.noise.relative_to_image_std = false;
        w.config.train.epochs = 2;
        CHECK(w.train("whole"));
        CHECK_FALSE(w.train("parts", false, 4));
        CHECK(w.train("parts", true));
        w.check_same("whole", "parts");
        const auto loss = w.column("whole", "loss");
        CHECK(std::stod(loss.back()) < std::stod(loss.front()));
        w.config.solver.observation.sight = Sight::identity;
        CHECK(has(refusal([&] { w.train("whole", true); }), "solver.operator"));
    }
}
