// A small network in training, step by step, on any backend: what the tests of both ways to take steps share.
#pragma once
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/files/file.h"
#include "engine/model/unet.h"
#include "engine/pictures/image.h"
#include "engine/training/training_steps.h"
#include "kernels/threads/threads.h"
#include "tests/support/temporary_folder.h"

namespace tvmap::tests {

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
        config.optimiser.schedule = RateSchedule::cosine;
        config.optimiser.warmup = 4;
        config.train.epochs = 3;
        config.train.batch = 2;  // three steps an epoch, one image left over
        config.train.crop = 16;
        config.train.flip = true;
    }
};

/// A network in training.
struct Training {
    std::unique_ptr<Backend> backend;
    Dataset data;
    RecordedModel model;
    Plan plan;
    Parameters parameters;
    Arena arena;

    Training(Workshop& w, std::unique_ptr<Backend> on)
        : backend(std::move(on)),
          data(w.folder / "", w.config.data.size, 7),
          model(record_training_model(*backend, w.config, w.config.train.batch, Batches::side(w.config),
                                      Batches::side(w.config))),
          plan(std::move(model.graph), *backend, w.algorithms, true),
          parameters(*backend, plan.graph().parameters(), true, 1, Optimiser::kept(w.config)),
          arena(*backend, plan.arena_bytes()) {
        plan.bind(arena, parameters);
        parameters.initialise(w.config.seed);
    }

    TrainingParts parts(const Config& config) {
        return {*backend, config, data, {&plan}, parameters, model.noisy, model.target, model.weights};
    }
    std::unique_ptr<TrainingSteps> steps(const Config& config, Way way, int epoch, int step) {
        const TrainingParts parts = this->parts(config);
        if (way == Way::host) return std::make_unique<HostSteps>(parts, epoch, step);
        return std::make_unique<ResidentSteps>(parts, epoch, step, way == Way::resident);
    }
};

struct Outcome {
    std::vector<double> losses;
    std::vector<float> weights;
    std::vector<float> averages;  ///< of the weights, where they are kept; else the weights
};

/// Nine steps, three epochs of three; `leave` > 0: left after at least so many of them and taken up again.
inline Outcome train(Workshop& w, std::unique_ptr<Backend> backend, Way way, int leave = 0) {
    Training training(w, std::move(backend));
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
    outcome.averages = training.parameters.result().host_weights();
    return outcome;
}

}  // namespace tvmap::tests
