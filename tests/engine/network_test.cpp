// Network, map, solver and loss together: against PyTorch's numbers, against the tape in double, and in
// training.
#include <doctest/doctest.h>

#include <cstdlib>
#include <sstream>

#include "engine/config/solver_problem.h"
#include "engine/model/unet.h"
#include "kernels/threads/threads.h"
#include "tests/support/recording.h"

using namespace tvmap;
using namespace tvmap::tests;

namespace {

/// A training plan of a configuration with everything that it needs.
struct Training {
    std::unique_ptr<Backend> backend = make_backend("cpu");
    Value noisy, target, lambda, denoised;
    std::unique_ptr<Plan> plan;
    std::unique_ptr<Parameters> parameters;
    std::unique_ptr<Arena> arena;

    Training(const Config& config, int n, int h, int w) {
        // As record_training_model, but with everything kept and with a gradient for the image.
        RecordedModel model{Graph(network_block(*backend, config.network)), {}, {}, {}, {}, {}};
        Graph& graph = model.graph;
        noisy = graph.input("noisy", n, 1, h, w, true);
        target = graph.input("target", n, 1, h, w);
        const Value raw = record_unet(graph, config.network, noisy);
        lambda = map_from_raw(graph, raw, {float(config.map.scale), float(config.map.up_bound)},
                              config.map.separate ? 2 : 1);
        denoised = denoise(graph, noisy, lambda, pdhg_problem(config.solver, config.map, n, h, w),
                           config.solver.iterations);
        loss(graph, denoised, target, config.train.loss);
        graph.keep(lambda);
        graph.keep(denoised);
        Algorithms algorithms;
        plan = std::make_unique<Plan>(std::move(graph), *backend, algorithms, true);
        parameters = std::make_unique<Parameters>(*backend, plan->graph().parameters(), true);
        arena = std::make_unique<Arena>(*backend, plan->arena_bytes());
        plan->bind(*arena, *parameters);
    }

    void step(const Doubles& z, const Doubles& x) {
        set_input(*plan, noisy, z);
        set_input(*plan, target, x);
        plan->forward();
        plan->backward();
    }
};

Doubles to_double(const std::vector<float>& values) { return {values.begin(), values.end()}; }

void compare_with_fixture(const std::string& name) {
    const SafeTensors file = read_safetensors(std::string(TVMAP_FIXTURES) + "/" + name + ".safetensors");
    const auto stored = [&](const std::string& key) { return to_double(file.tensors.at(key).values); };
    Config config;
    config.network.channels.clear();
    std::istringstream channels(file.metadata.at("channels"));
    for (std::string c; std::getline(channels, c, ',');)
        config.network.channels.push_back(std::atoi(c.c_str()));
    config.network.outputs = std::atoi(file.metadata.at("outputs").c_str());
    config.network.slope = std::atof(file.metadata.at("slope").c_str());
    config.map.scale = std::atof(file.metadata.at("scale").c_str());
    config.solver.iterations = std::atoi(file.metadata.at("iterations").c_str());
    SafeTensors weights;
    for (const auto& [key, tensor] : file.tensors)
        if (key.rfind("param.", 0) == 0) weights.tensors[key.substr(6)] = tensor;
    const std::vector<std::int64_t> shape = file.tensors.at("z").shape;

    std::istringstream cases(file.metadata.at("cases"));
    int count = 0;
    for (std::string kind; std::getline(cases, kind, ','); ++count) {
        CAPTURE(kind);
        set_threads(1 + count % 2);
        config.map.separate = kind.rfind("separate", 0) == 0;
        config.train.loss = kind.find("log_mse") != std::string::npos ? LossKind::log_mse : LossKind::mse;
        Training training(config, int(shape[0]), int(shape[2]), int(shape[3]));
        training.parameters->load(weights, false, name);
        training.step(stored("z"), stored("target"));
        // The fixtures' weights and images are such that disturbing them by 1e-6 moves no result by more than
        // 5e-5, relative; single precision and Winograd's transforms disturb every layer by as much.
        const double tolerance = 1e-4;
        const double loss = stored(kind + ".loss")[0];
        CHECK(std::abs(training.plan->loss() - loss) < tolerance * std::abs(loss));
        CHECK(difference(floats(training.plan->view(training.lambda)), stored(kind + ".lambda")) < tolerance);
        CHECK(difference(floats(training.plan->view(training.denoised)), stored(kind + ".x")) < tolerance);
        CHECK(difference(floats(training.plan->gradient(training.noisy)), stored(kind + ".d_z")) < tolerance);
        const std::vector<float> all = training.parameters->host_gradients();
        for (const Parameter& p : training.parameters->list()) {
            CAPTURE(p.name);
            const Doubles own(all.begin() + p.offset, all.begin() + p.offset + p.size);
            CHECK(difference(own, stored(kind + ".grad." + p.name)) < tolerance);
        }
    }
    CHECK(count >= 1);
}

/// A piecewise constant image and a noisy one, N×1×H×W.
struct Images {
    Doubles clean, noisy;
    Images(std::mt19937& generator, int n, int h, int w) {
        const Doubles levels = random_values(generator, 64, 0.1, 0.9);
        const Doubles noise = random_values(generator, std::size_t(n) * h * w, -0.3, 0.3);
        for (int k = 0; k < n * h * w; ++k) {
            const int i = k / w % h, j = k % w;
            clean.push_back(levels[(k / (h * w) * 17 + i / 5 * 7 + j / 6) % 64]);
            noisy.push_back(float(clean.back() + noise[k]));
        }
    }
};

struct Exact {
    reference::Tape tape;
    int z, loss;
    Exact(const Config& c, const NamedDoubles& weights, const Images& images, int n, int h, int w)
        : tape(weights) {
        z = tape.input(n, 1, h, w, images.noisy);
        const int raw =
            reference::unet(tape, z, c.network.channels, c.network.outputs, float(c.network.slope));
        const int lambda =
            tape.map_from_raw(raw, float(c.map.scale), float(c.map.up_bound), c.map.separate ? 2 : 1);
        const double step = 1 / c.solver.norm;
        const int x =
            tape.denoise(z, lambda, {0, 0, c.solver.iterations, step, step, c.solver.theta, false, false});
        loss = tape.loss(x, tape.input(n, 1, h, w, images.clean), c.train.loss == LossKind::log_mse);
    }
    double value() const { return tape.node(loss).value[0]; }
};

}  // namespace

TEST_CASE("PyTorch's numbers: map, result, loss and every gradient") {
    SUBCASE("planar") { compare_with_fixture("network_small"); }
    SUBCASE("in blocks, odd sides") { compare_with_fixture("network_wide"); }
}

TEST_CASE("the whole training step against double precision") {
    Config config;
    config.network.channels = {6, 10, 12};
    config.network.slope = 0.1;
    config.solver.iterations = 16;
    int n = 1;
    SUBCASE("shared map, mse") {}
    SUBCASE("separate maps, mse, a batch") {
        config.map.separate = true;
        n = 2;
    }
    SUBCASE("shared map, log_mse, a batch") {
        config.train.loss = LossKind::log_mse;
        n = 3;
    }
    SUBCASE("separate maps, log_mse, bounded map, in blocks") {
        config.map.separate = true;
        config.map.up_bound = 0.2;
        config.train.loss = LossKind::log_mse;
        config.network.channels = {16, 16};
    }
    const int h = 16, w = 24;
    set_threads(std::min(n, 2));
    Training training(config, n, h, w);
    const std::vector<Parameter>& list = training.parameters->list();
    std::mt19937 generator(11);
    const NamedDoubles weights = random_weights(generator, list);
    const Images images(generator, n, h, w);
    Exact exact(config, weights, images, n, h, w);
    exact.tape.backward(exact.loss);
    const Doubles expected = flattened(exact.tape.gradients(), list);
    const double size = norm(expected);

    // The reference's own gradient, along random directions and along itself. Steps that small cross no kink;
    // what is left is cancellation, 1e-16 over 2e-6 of losses up to 10.
    for (int draw = 0; draw < 4; ++draw) {
        NamedDoubles direction;
        for (const Parameter& p : list)
            direction[p.name] = random_values(generator, std::size_t(p.size), -1, 1);
        const double length = norm(flattened(direction, list));
        double slope = 0;
        for (const Parameter& p : list)
            for (std::size_t k = 0; k < direction[p.name].size(); ++k) {
                const double g = exact.tape.gradients().at(p.name)[k];
                direction[p.name][k] = direction[p.name][k] / length + (draw % 2) * g / size;
                slope += direction[p.name][k] * g;
            }
        const auto moved = [&](double by) {
            NamedDoubles there = weights;
            for (auto& [name, values] : there)
                for (std::size_t k = 0; k < values.size(); ++k) values[k] += by * direction[name][k];
            return Exact(config, there, images, n, h, w).value();
        };
        const double h_step = 1e-6;
        CHECK(std::abs((moved(h_step) - moved(-h_step)) / (2 * h_step) - slope) < 1e-5 * size);
    }

    set_weights(*training.parameters, weights);
    training.step(images.noisy, images.clean);
    CHECK(std::abs(training.plan->loss() - exact.value()) < 1e-5 * std::abs(exact.value()));
    // A clip that rounding decides the other way changes single entries; 1e-3 was seen for whole
    // trajectories.
    CHECK(difference(training.parameters->host_gradients(), expected) < 2e-3);
    CHECK(difference(floats(training.plan->gradient(training.noisy)), exact.tape.node(exact.z).gradient) <
          2e-3);
}

TEST_CASE("another architecture trains: residual blocks, shared weights, a recurrent solver") {
    // Λ from a residual network whose second block shares the first one's weights; the solver's result goes
    // through the same network again.
    const auto network = [](auto& net, auto z) {
        auto x = z;
        for (int pass = 0; pass < 2; ++pass) {
            const auto wide = net.convolution(x, "widen", 5, 3, 0.1);
            const auto once = net.add(wide, net.convolution(wide, "body", 5, 3, 0.1));
            const auto twice = net.add(once, net.convolution(once, "body", 5, 3, 0.1));
            const auto joined = net.concatenate({net.add(wide, twice), wide, x});
            const auto lambda = net.map_from_raw(net.convolution(joined, "raw", 1, 1, 1), 0.1, 0, 1);
            x = net.denoise(x, lambda, reference::Pdhg{0, 0, 6, 1.0f / 3, 1.0f / 3, 1, false, false});
        }
        return x;
    };
    const int n = 2, h = 9, w = 13;
    set_threads(1);
    std::mt19937 generator(5);
    const Images images(generator, n, h, w);
    const auto backend = make_backend("cpu");
    Recorder recorder(1);
    const Value z = recorder.graph.input("z", n, 1, h, w),
                target = recorder.graph.input("target", n, 1, h, w);
    tvmap::loss(recorder.graph, network(recorder, z), target, LossKind::mse);
    Algorithms algorithms;
    Plan plan(std::move(recorder.graph), *backend, algorithms, true);
    Parameters parameters(*backend, plan.graph().parameters(), true);
    const Arena arena(*backend, plan.arena_bytes());
    plan.bind(arena, parameters);
    NamedDoubles weights = random_weights(generator, parameters.list());
    set_weights(parameters, weights);
    set_input(plan, z, images.noisy);
    set_input(plan, target, images.clean);

    reference::Adam adam{0.02};
    double first = 0, last = 0;
    for (int step = 1; step <= 60; ++step) {
        plan.forward();
        plan.backward();
        parameters.adam_step({0.02, 0.9, 0.999, 1e-8, step});
        last = plan.loss();
        if (step == 1) first = last;
        if (step > 8) continue;
        reference::Tape tape(weights);
        const int loss = tape.loss(network(tape, tape.input(n, 1, h, w, images.noisy)),
                                   tape.input(n, 1, h, w, images.clean), false);
        tape.backward(loss);
        adam.step(weights, tape.gradients());
        CAPTURE(step);
        // Adam's first steps go by the gradient's sign: entries near zero magnify rounding, so the weights
        // agree less well than the gradients do.
        CHECK(std::abs(last - tape.node(loss).value[0]) < 1e-4 * last);
        CHECK(difference(parameters.host_weights(), flattened(weights, parameters.list())) < 1e-3);
    }
    MESSAGE("loss " << first << " -> " << last);
    CHECK(last < 0.6 * first);
}
