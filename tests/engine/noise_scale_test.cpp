// Networks that work at the scale of the noise, and those that give an image: gradients against the tape in double,
// and the promise that the whole scales with its input.
#include <doctest/doctest.h>

#include "engine/graph/noise_scale.h"
#include "engine/model/unet.h"
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "tests/reference/layers.h"
#include "tests/support/recording.h"

using namespace tvmap;
using namespace tvmap::tests;

namespace {

Config small_config(bool image) {
    Config config;
    config.network.channels = {4, 6};
    config.network.slope = 0.1;
    config.network.normalise = true;
    config.network.predicts_image = image;
    config.map.scale = 1;
    config.solver.iterations = 8;
    return config;
}

/// The model of a configuration on the CPU, planned and bound.
struct Planned {
    std::unique_ptr<Backend> backend = make_backend("cpu");
    RecordedModel model;
    std::unique_ptr<Plan> plan;
    std::unique_ptr<Parameters> parameters;
    std::unique_ptr<Arena> arena;

    Planned(const Config& config, int n, int h, int w, bool training)
        : model(training ? record_training_model(*backend, config, n, h, w)
                         : record_inference_model(*backend, config, n, h, w, config.solver.iterations)) {
        Algorithms algorithms;
        plan = std::make_unique<Plan>(std::move(model.graph), *backend, algorithms, training);
        parameters = std::make_unique<Parameters>(*backend, plan->graph().parameters(), training);
        arena = std::make_unique<Arena>(*backend, plan->arena_bytes());
        plan->bind(*arena, *parameters);
    }
};

/// The loss of the same in double, its gradients in `tape`.
double exact_loss(reference::Tape& tape, const Config& config, const Doubles& noisy, const Doubles& target,
                  int n, int h, int w) {
    Doubles level, over;
    for (int k = 0; k < n; ++k) {
        level.push_back(reference::noise_level(&noisy[std::size_t(k) * h * w], h, w));
        over.push_back(1 / level.back());
    }
    const int z = tape.input(n, 1, h, w, noisy);
    const int raw = reference::unet(tape, tape.scaled(z, over), config.network.channels,
                                    config.network.outputs, float(config.network.slope));
    int x;
    if (config.network.predicts_image) {
        x = tape.residual(z, tape.scaled(raw, level));
    } else {
        const int map = tape.scaled(tape.map_from_raw(raw, 1, 0, config.map.separate ? 2 : 1), level);
        const double step = 1 / config.solver.norm;
        x = tape.denoise(z, map, {0, 0, config.solver.iterations, step, step, 1, false, false});
    }
    const int loss = tape.loss(x, tape.input(n, 1, h, w, target), false);
    tape.backward(loss);
    return tape.node(loss).value[0];
}

}  // namespace

TEST_CASE("loss and gradients of a training step against double precision") {
    for (const bool image : {false, true})
        for (const bool separate : {false, true}) {
            CAPTURE(image);
            CAPTURE(separate);
            set_threads(2);
            Config config = small_config(image);
            config.map.separate = separate;
            const int n = 2, h = 10, w = 14;
            Planned planned(config, n, h, w, true);
            const std::vector<Parameter>& list = planned.parameters->list();
            NamedDoubles weights;
            Doubles noisy, target;
            std::unique_ptr<reference::Tape> tape;
            double loss = 0;
            // Weights and images whose decisions no rounding turns, as in graph_test.
            for (unsigned seed = 1; !tape || tape->margin() < 5e-6; ++seed) {
                REQUIRE(seed < 200);
                std::mt19937 generator(seed);
                weights = random_weights(generator, list);
                noisy = random_values(generator, std::size_t(n) * h * w, 0, 1);
                target = random_values(generator, std::size_t(n) * h * w, 0, 1);
                tape = std::make_unique<reference::Tape>(weights);
                loss = exact_loss(*tape, config, noisy, target, n, h, w);
            }
            set_weights(*planned.parameters, weights);
            set_input(*planned.plan, planned.model.noisy, noisy);
            set_input(*planned.plan, planned.model.target, target);
            planned.plan->forward();
            planned.plan->backward();
            // As in graph_test: single precision through some ten operations, Winograd's transforms up to 1e-6 each.
            const double tolerance = 2e-5;
            CHECK(std::abs(planned.plan->loss() - loss) <= tolerance * loss);
            const std::vector<float> all = planned.parameters->host_gradients();
            for (const Parameter& p : list) {
                CAPTURE(p.name);
                const std::vector<float> own(all.begin() + p.offset, all.begin() + p.offset + p.size);
                CHECK(difference(own, tape->gradients().at(p.name)) < tolerance);
            }
        }
}

// Twice a number has the same bits but for the exponent, all through estimate, network and solver.
TEST_CASE("an image of twice the scale gives twice the map and twice the result, to the bit") {
    for (const bool image : {false, true}) {
        CAPTURE(image);
        const Config config = small_config(image);
        Planned planned(config, 1, 16, 24, false);
        planned.parameters->initialise(7);
        std::mt19937 generator(1);
        Doubles noisy = random_values(generator, 16 * 24, 0.2, 0.8);
        const auto results = [&] {
            set_input(*planned.plan, planned.model.noisy, noisy);
            planned.plan->forward();
            std::vector<float> all = floats(planned.plan->view(planned.model.denoised));
            if (!image)
                for (const float v : floats(planned.plan->view(planned.model.lambda))) all.push_back(v);
            return all;
        };
        std::vector<float> once = results();
        for (double& v : noisy) v *= 2;
        for (float& v : once) v *= 2;
        CHECK(results() == once);
    }
}

TEST_CASE("by He's initialisation every pixel of the first map is log 2 times the noise") {
    Config config = small_config(false);
    config.network.he = true;
    Planned planned(config, 1, 16, 24, false);
    planned.parameters->initialise(7);
    std::mt19937 generator(1);
    const Doubles noisy = random_values(generator, 16 * 24, 0.2, 0.8);
    set_input(*planned.plan, planned.model.noisy, noisy);
    planned.plan->forward();
    const double expected = std::log(2.0) * reference::noise_level(noisy.data(), 16, 24);
    // The estimate's error as in noise_level_test.
    for (const float v : floats(planned.plan->view(planned.model.lambda)))
        CHECK(std::abs(v / expected - 1) < 1e-6);
}

TEST_CASE("what has no gradient is refused where one would be lost") {
    Graph graph(1);
    const Value z = graph.input("z", 1, 1, 8, 8, true), constant = graph.input("c", 1, 1, 8, 8);
    CHECK_THROWS_WITH_AS(noise_level(graph, z), "noise level: 'z' gets no gradient; give an input", Error);
    CHECK_THROWS_WITH_AS(residual(graph, z, constant), "residual: 'z' gets no gradient; give an input",
                         Error);
    CHECK_THROWS_WITH_AS(residual(graph, constant, graph.input("d", 1, 1, 8, 4)),
                         doctest::Contains("do not go with"), Error);
}
