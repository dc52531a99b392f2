// Training with learned steps of the solver: it resumes to the same bits, and a trained model keeps its steps.
#include <doctest/doctest.h>
#include <stdlib.h>

#include "engine/config/solver_problem.h"
#include "engine/files/file.h"
#include "engine/model/denoiser.h"
#include "engine/pictures/image.h"
#include "engine/training/trainer.h"
#include "engine/unrolled/step_sizes.h"
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "tests/support/refusal.h"
#include "tests/support/temporary_folder.h"
#include "tests/unrolled/step_sizes_case.h"

using namespace tvmap;
using namespace tvmap::tests;

namespace {

/// Pictures and a small network whose steps are learned.
struct Workshop {
    TemporaryFolder folder;
    Config config;

    explicit Workshop(TrainSteps kind) {
        set_threads(1);
        ::setenv("XDG_CACHE_HOME", (folder / "cache").c_str(), 1);
        for (const std::string name : {"train", "val"}) {
            make_folder(folder / name);
            for (int k = 0; k < 4; ++k) {
                Picture picture{24, 24, 1, 8, std::vector<float>(24 * 24)};
                for (int i = 0; i < 24; ++i)
                    for (int j = 0; j < 24; ++j)
                        picture.values[i * 24 + j] = float((i / 6 * 5 + j / 8 * 3 + k * 7) % 11) / 10.0f;
                write_png(folder / (name + "/image_" + std::to_string(k) + ".png"), picture);
            }
        }
        config.data.train = folder / "train";
        config.data.val = folder / "val";
        config.data.size = 24;
        config.data.limit = {4, 2, 1};
        config.network.channels = {4, 6};
        config.solver.iterations = 6;
        config.solver.train_steps = kind;
        config.solver.tau = config.solver.sigma = 0.2;
        config.solver.theta = 0.5;
        config.evaluate.iterations = 9;
        config.optimiser.rate = 1e-2;
        config.train.epochs = 3;
        config.train.batch = 2;
    }

    bool train(const std::string& run, bool resume = false, int stop_after = -1) const {
        std::atomic<bool> stop{stop_after == 0};
        Trainer trainer(config, folder / run, resume);
        int steps = 0;
        return trainer.run([&](const TrainReport&) { stop = ++steps == stop_after; }, stop);
    }
    std::string checkpoint(const std::string& run) const {
        return folder / (run + "/checkpoints/last.safetensors");
    }
    std::vector<float> stored(const std::string& run, const std::string& name) const {
        return read_safetensors(checkpoint(run)).tensors.at(name).values;
    }
};

}  // namespace

TEST_CASE("training with learned steps, interrupted after every step and resumed, gives the same bits") {
    for (const TrainSteps kind : {TrainSteps::shared, TrainSteps::per_step}) {
        CAPTURE(int(kind));
        Workshop w(kind);
        const std::size_t count = kind == TrainSteps::shared ? 1 : 6;
        CHECK(w.train("whole"));
        CHECK_FALSE(w.train("parts", false, 0));
        int processes = 1;
        while (!w.train("parts", true, 1)) REQUIRE(++processes < 20);
        CHECK(processes == 6);
        CHECK((read_file(w.checkpoint("whole")) == read_file(w.checkpoint("parts"))));

        const StepTraining start =
            step_training(w.config.solver, pdhg_problem(w.config.solver, w.config.map, 1, 24, 24));
        for (std::size_t i = 0; i < 3; ++i) {
            const std::string name = step_parameter_names[i];
            const std::vector<float> s = w.stored("whole", name);
            REQUIRE(s.size() == count);
            CHECK(w.stored("whole", "optimiser.m." + name).size() == count);
            for (std::size_t k = 0; k < count; ++k) {
                // Six steps of Adam at most 1e-2 each. (θ of the last iteration has no effect: it stays.)
                CHECK(std::abs(s[k] - start.start[i]) <= 0.0601);
                CHECK((s[k] != start.start[i]) == (i < 2 || count == 1 || k + 1 < count));
            }
        }
    }
}

TEST_CASE("a trained model denoises with the steps it has learned, images of any size") {
    for (const TrainSteps kind : {TrainSteps::shared, TrainSteps::per_step}) {
        CAPTURE(int(kind));
        Workshop w(kind);
        CHECK(w.train("run"));
        const auto backend = make_backend("cpu");
        Algorithms algorithms;
        const Config config = checkpoint_config(w.checkpoint("run"));
        CHECK(config.solver.train_steps == kind);
        PerStepKind<Doubles> raw;
        for (std::size_t i = 0; i < 3; ++i) {
            const std::vector<float> s = w.stored("run", step_parameter_names[i]);
            raw[i] = {s.begin(), s.end()};
        }
        for (const auto& [height, width] : {std::pair{24, 20}, {13, 21}, {24, 24}}) {
            CAPTURE(width);
            Denoiser denoiser(*backend, algorithms, config, height, width);
            Parameters parameters(*backend, denoiser.graph().parameters(), false);
            read_weights(w.checkpoint("run"), config, parameters);
            const Arena arena(*backend, denoiser.arena_bytes());
            denoiser.bind(arena, parameters);
            std::mt19937 generator(5);
            const Doubles noisy = random_values(generator, std::size_t(height * width), 0, 1);
            std::vector<float> lambda(noisy.size()), denoised(noisy.size());
            denoiser.run(to_float(noisy).data(), lambda.data(), denoised.data());
            std::vector<float> by_the_map(noisy.size());
            denoiser.restore(to_float(noisy).data(), lambda.data(), by_the_map.data());
            CHECK((by_the_map == denoised));

            reference::Pdhg solver{height, width, 9};  // three more than in training: the last steps again
            solver.own_steps = reference_steps(raw, 3, 9);
            Doubles map(lambda.begin(), lambda.end());
            map.insert(map.end(), lambda.begin(), lambda.end());
            const Doubles expected = reference::pdhg_forward(solver, noisy, map).x;
            // fp32 against double; other steps would show at 1e-2.
            CHECK(difference(Doubles(denoised.begin(), denoised.end()), expected) < 1e-5);
            solver.own_steps.clear();
            solver.tau = solver.sigma = 0.2, solver.theta = 0.5;
            CHECK(difference(reference::pdhg_forward(solver, noisy, map).x, expected) > 1e-3);
        }
    }
}

TEST_CASE("what learned steps cannot be is refused") {
    const auto refused = [](const std::string& solver) {
        return refusal([&] { parse_config("solver: {" + solver + "}", "file"); });
    };
    CHECK(refused("train_steps: shared") == "accepted");
    CHECK(refused("train_steps: per_step, gradient: checkpoint") == "accepted");
    CHECK(refused("train_steps: some").find("none | shared | per_step") != std::string::npos);
    CHECK(refused("tau: 0.5, sigma: 0.1") == "accepted");
    CHECK(refused("tau: 0.5, sigma: 0.1, train_steps: shared").find("solver.tau") != std::string::npos);
    CHECK(refused("tau: 0.1, sigma: 0.5, train_steps: shared").find("solver.sigma") != std::string::npos);
    CHECK(refused("gradient: stored, train_steps: shared").find("solver.gradient") != std::string::npos);
    CHECK(refused("gradient: implicit, train_steps: shared").find("solver.gradient") != std::string::npos);
    Config config;
    config.solver.train_steps = TrainSteps::per_step;
    CHECK(parse_config(config.to_yaml(), "again").solver.train_steps == TrainSteps::per_step);

    // A checkpoint without steps, or with another number of them, is another model's.
    Workshop w(TrainSteps::per_step);
    CHECK(w.train("run"));
    const auto backend = make_backend("cpu");
    Algorithms algorithms;
    for (const auto& [kind, iterations, message] : {std::tuple{TrainSteps::none, 6, "solver.train_steps"},
                                                    {TrainSteps::per_step, 5, "solver.step.tau"}}) {
        Config other = w.config;
        other.solver.train_steps = kind;
        other.solver.iterations = iterations;
        Denoiser denoiser(*backend, algorithms, other, 24, 24);
        Parameters parameters(*backend, denoiser.graph().parameters(), false);
        CHECK(refusal([&] { read_weights(w.checkpoint("run"), other, parameters); }).find(message) !=
              std::string::npos);
    }
}
