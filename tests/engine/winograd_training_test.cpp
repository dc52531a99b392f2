// A training on Winograd's convolutions and the same on direct ones, oneDNN's plain loops: what the transforms' rounding
// comes to after ten steps.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/data/phantoms.h"
#include "engine/files/file.h"
#include "engine/graph/algorithms.h"
#include "engine/graph/parameters.h"
#include "engine/graph/plan.h"
#include "engine/model/unet.h"
#include "kernels/backend.h"
#include "kernels/training/random.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;

namespace {

constexpr int side = 32, steps = 10;
constexpr char experiment[] = R"(
seed: 7
data: {train: a, val: b, test: c, size: 32}
network: {channels: [16, 32, 48], outputs: 2}
solver: {iterations: 64}
optimiser: {rate: 1e-3}
)";

/// Losses of ten steps, each 3×3 convolution between blocks of channels by this algorithm where `algorithm` names one.
std::vector<double> losses(const std::string& algorithm, int* replaced) {
    const auto backend = make_backend("cpu");
    const Config config = parse_config(experiment, "experiment", {});
    const TemporaryFolder folder;
    const std::string file = folder / "algorithms.json";
    std::vector<double> result;
    for (const bool chooses : {true, false}) {
        Algorithms algorithms = chooses ? Algorithms() : Algorithms::read(file);
        RecordedModel model = record_training_model(*backend, config, 1, side, side);
        Parameters parameters(*backend, model.graph.parameters(), true);
        parameters.initialise(config.seed);
        Plan plan(std::move(model.graph), *backend, algorithms, true);
        if (chooses) {
            algorithms.save(file);
            auto choices = nlohmann::json::parse(read_file(file));
            for (auto& [problem, choice] : choices.items())
                if (problem.find("conv3x3") != std::string::npos &&
                    choice.get<std::string>().find("data=") != std::string::npos) {
                    choice = "forward=" + algorithm + ",weights=" + algorithm + ",data=" + algorithm;
                    ++*replaced;
                }
            write_file(file, choices.dump());
            continue;
        }
        const Arena arena(*backend, plan.arena_bytes());
        plan.bind(arena, parameters);
        for (int step = 0; step < steps; ++step) {
            const std::vector<float> clean = phantom(11, std::uint32_t(step), side);
            std::vector<float> noisy(clean.size());
            cpu::add_noise(3, 1, std::uint32_t(step), std::int64_t(clean.size()), clean.data(), 0.1f,
                           noisy.data());
            backend->upload(plan.view(model.noisy).data, noisy.data(), sizeof(float) * noisy.size());
            backend->upload(plan.view(model.target).data, clean.data(), sizeof(float) * clean.size());
            plan.forward();
            plan.backward();
            parameters.adam_step({config.optimiser.rate, 0.9, 0.999, 1e-8, step + 1});
            result.push_back(plan.loss());
        }
    }
    return result;
}

}  // namespace

TEST_CASE("ten training steps on Winograd's and on direct convolutions agree in the loss") {
    if (make_backend("cpu")->channel_block(16) == 1) return;  // no vectors, no Winograd
    int replaced = 0;
    const std::vector<double> winograd = losses("winograd4", &replaced);
    CHECK(replaced == 7);  // all of a network of three levels but the first
    const std::vector<double> direct = losses("ref:any", &replaced);
    double worst = 0;
    REQUIRE(winograd.size() == steps);
    for (std::size_t i = 0; i < winograd.size(); ++i) {
        REQUIRE(std::isfinite(direct[i]));
        worst = std::max(worst, std::abs(winograd[i] / direct[i] - 1));
    }
    MESSAGE("largest relative difference of the loss: " << worst);
    CHECK(winograd != direct);  // two ways indeed
    // 1e-6 of a layer's result, some layers, and Adam, which divides by the gradient's own size.
    CHECK(worst < 1e-4);
    CHECK(direct.back() != direct.front());
}
