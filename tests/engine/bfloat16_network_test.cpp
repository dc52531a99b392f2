// Networks whose features are kept in bf16: the whole step against the tape in double that rounds what it stores alike,
// the memory that is saved, and what is refused. Without a processor that multiplies bf16: the refusal.
#include <doctest/doctest.h>

#include <algorithm>

#include "engine/config/solver_problem.h"
#include "engine/model/unet.h"
#include "kernels/threads/threads.h"
#include "tests/reference/bfloat16.h"
#include "tests/support/recording.h"
#include "tests/support/refusal.h"

using namespace tvmap;
using namespace tvmap::tests;

namespace {

bool has_bf16() { return !cpu::bf16_instructions().empty(); }

void check_refused() {
    CHECK(has(refusal([] { make_backend("cpu", "bf16"); }),
              "network.precision: bf16 on the CPU needs avx512_bf16 or amx_bf16; this machine has"));
}

/// A plan with everything that it needs, its arena full of NaNs.
struct Training {
    Training(Backend& backend, Graph graph) {
        Algorithms algorithms;
        plan = std::make_unique<Plan>(std::move(graph), backend, algorithms, true);
        parameters = std::make_unique<Parameters>(backend, plan->graph().parameters(), true);
        arena = std::make_unique<Arena>(backend, plan->arena_bytes());
        poison(*arena);
        plan->bind(*arena, *parameters);
    }
    std::unique_ptr<Plan> plan;
    std::unique_ptr<Parameters> parameters;
    std::unique_ptr<Arena> arena;
};

/// Numbers of bf16: an algorithm may round its factors or not, these stay.
Doubles rounded(Doubles values) {
    for (double& v : values) v = reference::nearest_bfloat16(v);
    return values;
}
NamedDoubles rounded(NamedDoubles values) {
    for (auto& [name, some] : values) some = rounded(some);
    return values;
}

/// Of two, so that its products with numbers of bf16 are such again.
constexpr double slope = 0.125;
constexpr int n = 2, h = 24, w = 32;

/// The U-Net's shape with the 1×1 convolution before the upsampling, as the engine has it; a map and a few steps.
template <class Net, class Value>
Value denoised_by_unet(Net& net, Value z) {
    const auto twice = [&](Value x, const std::string& name, int channels) {
        return net.convolution(net.convolution(x, name + ".0", channels, 3, slope), name + ".2", channels, 3,
                               slope);
    };
    const Value skip = twice(z, "first", 32);
    const Value low = twice(net.max_pool(skip), "low", 48);
    const Value up = net.upsample(net.convolution(low, "up", 32, 1, 1.0));
    const Value high = twice(net.concatenate({skip, up}), "high", 32);
    const Value lambda = net.map_from_raw(net.convolution(high, "raw", 2, 1, 1.0), 0.1, 0, 2);
    return net.denoise(z, lambda, reference::Pdhg{0, 0, 8, 1.0f / 3, 1.0f / 3, 1, false, false});
}

/// One whose gradients come in parts: that of [a, b] is added to a's, which was written before, and starts b's.
template <class Net, class Value>
Value denoised_in_parts(Net& net, Value z) {
    const Value a = net.convolution(z, "a", 16, 3, slope), b = net.convolution(a, "b", 32, 3, slope);
    const Value c = net.convolution(net.concatenate({a, b}), "c", 16, 3, slope);
    const Value e = net.convolution(a, "e", 16, 1, slope);
    const Value lambda =
        net.map_from_raw(net.convolution(net.concatenate({c, e}), "raw", 1, 3, 1.0), 0.1, 0, 1);
    return net.denoise(z, lambda, reference::Pdhg{0, 0, 8, 1.0f / 3, 1.0f / 3, 1, false, false});
}

/// How far the gradient of one step in bf16 is from that of the tape that rounds, and how far that one is from exact.
struct Distances {
    double own, of_rounding;
};

template <class Network>
Distances distances(const Network& network, unsigned seed) {
    const auto backend = make_backend("cpu", "bf16");
    Recorder recorder(backend->channel_block(16), backend->feature_element());
    const Value z = recorder.graph.input("z", n, 1, h, w),
                target = recorder.graph.input("target", n, 1, h, w);
    loss(recorder.graph, network(recorder, z), target, LossKind::mse);
    Training training(*backend, std::move(recorder.graph));
    std::mt19937 generator(seed);
    const NamedDoubles weights = rounded(random_weights(generator, training.parameters->list()));
    const Doubles noisy = rounded(random_values(generator, n * h * w, 0, 1)),
                  clean = random_values(generator, n * h * w, 0, 1);
    set_weights(*training.parameters, weights);
    set_input(*training.plan, z, noisy);
    set_input(*training.plan, target, clean);
    training.plan->forward();
    training.plan->backward();

    double loss = 0;
    const auto gradient = [&](reference::Tape::Rounding rounding) {
        reference::Tape tape(weights, rounding);
        const auto image = tape.input(n, 1, h, w, noisy);
        const auto end = tape.loss(network(tape, image), tape.input(n, 1, h, w, clean), false);
        tape.backward(end);
        loss = tape.node(end).value[0];
        return flattened(tape.gradients(), training.parameters->list());
    };
    const Doubles exact = gradient(nullptr), narrow = gradient(reference::nearest_bfloat16);
    CHECK(training.plan->loss() == doctest::Approx(loss).epsilon(1e-6));  // 2e-7 seen
    return {difference(training.parameters->host_gradients(), narrow), difference(narrow, exact)};
}

/// Sums in floats turn some roundings the other way, which moves the gradient by some 5e-5; now and then they turn a
/// maximum among alike numbers, or a clip, which can move it by 1e-3, as much as all the rounding does. So the middle one
/// of five is judged.
void compare(const auto& network) {
    for (const int threads : {1, 2}) {
        set_threads(threads);
        std::vector<double> own, of_rounding;
        for (unsigned seed = 1; seed <= 5; ++seed) {
            const Distances found = distances(network, seed);
            own.push_back(found.own);
            of_rounding.push_back(found.of_rounding);
        }
        for (std::vector<double>* some : {&own, &of_rounding}) std::sort(some->begin(), some->end());
        MESSAGE("gradients are " << own[2] << " off, rounding moves them by " << of_rounding[2]);
        CHECK(own[2] < 2e-4);
        CHECK(of_rounding[2] > 6e-4);  // or the comparison would show little
    }
}

}  // namespace

TEST_CASE("bf16 network: a whole step against double precision that is rounded where it is stored") {
    if (!has_bf16()) return check_refused();
    compare([](auto& net, auto z) { return denoised_by_unet(net, z); });
}

TEST_CASE("bf16 network: gradients in parts") {
    if (!has_bf16()) return check_refused();
    compare([](auto& net, auto z) { return denoised_in_parts(net, z); });
}

TEST_CASE("bf16 network: features take half the memory") {
    if (!has_bf16()) return check_refused();
    const auto plan_in = [](const std::string& precision) {
        const auto backend = make_backend("cpu", precision);
        Config config;
        config.network.channels = {32, 64};
        Algorithms algorithms;
        algorithms.plan_untimed(Algorithms::Untimed::least);
        return Plan(std::move(record_training_model(*backend, config, 1, 64, 64).graph), *backend, algorithms,
                    true);
    };
    const Plan wide = plan_in("fp32"), narrow = plan_in("bf16");
    int halved = 0;
    for (const Plan::Block& block : narrow.blocks())
        for (const Plan::Block& other : wide.blocks()) {
            if (other.name != block.name || other.purpose != block.purpose || block.shape.block == 1)
                continue;
            if (block.purpose != "value" && block.purpose != "gradient") continue;
            CHECK(2 * block.bytes == other.bytes);
            ++halved;
        }
    CHECK(halved > 10);
    CHECK(narrow.arena_bytes() < wide.arena_bytes());
}

TEST_CASE("bf16 network: what cannot be kept in it is refused") {
    Graph graph(16, Element::bf16);
    const Value image = graph.input("image", 1, 1, 8, 8);
    const Value wide = convolution(graph, image, "wide", 16, 3, 0.1f);
    CHECK(graph.tensor(wide).shape.element == Element::bf16);
    CHECK(graph.tensor(max_pool(graph, wide)).shape.element == Element::bf16);
    CHECK(graph.tensor(upsample(graph, wide)).shape.element == Element::bf16);
    CHECK(graph.tensor(convolution(graph, wide, "narrow", 2, 1, 1.0f)).shape.element == Element::fp32);
    CHECK(has(refusal([&] { add(graph, wide, wide); }),
              "which it cannot work on; use network.precision: fp32"));
    CHECK(has(refusal([&] { copy(graph, wide); }),
              "copy 'wide.copy': 'wide' is 1×16×8×8 in blocks of 16, bf16"));

    if (!has_bf16()) return check_refused();
    const auto backend = make_backend("cpu", "bf16");
    Config config;
    config.network.channels = {16, 24};
    CHECK(has(refusal([&] { record_training_model(*backend, config, 1, 16, 16); }),
              "network.precision: bf16 on the CPU needs network.channels that are all multiples of 16"));
}
