// The memory plan: what lives together never overlaps, the arena is hardly larger than what must be alive,
// and the table tells all. The U-Net's parameters: number and PyTorch names.
#include "engine/graph/plan.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "engine/graph/operations.h"
#include "engine/model/unet.h"
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "tests/support/recording.h"

using namespace tvmap;
using namespace tvmap::tests;

namespace {

Config small_config() {
    Config config;
    config.network.channels = {16, 32, 64};
    config.solver.iterations = 4;
    return config;
}

Plan training_plan(Backend& backend, const Config& config, int n, int h, int w) {
    set_threads(1);  // how many changes little here
    Algorithms algorithms;
    return {record_training_model(backend, config, n, h, w).graph, backend, algorithms, true};
}

std::size_t live_peak(const Plan& plan) {
    int last = 0;
    for (const Plan::Block& b : plan.blocks()) last = std::max(last, b.last);
    std::size_t peak = 0;
    for (int step = 0; step <= last; ++step) {
        std::size_t live = 0;
        for (const Plan::Block& b : plan.blocks())
            if (b.first <= step && step <= b.last) live += b.bytes;
        peak = std::max(peak, live);
    }
    return peak;
}

void check_blocks(const Plan& plan) {
    const auto& blocks = plan.blocks();
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        const Plan::Block& a = blocks[i];
        CAPTURE(a.name);
        CAPTURE(a.purpose);
        CHECK(a.bytes > 0);
        CHECK(a.offset % 64 == 0);
        CHECK(a.offset + a.bytes <= plan.arena_bytes());
        CHECK(a.first <= a.last);
        for (std::size_t j = 0; j < i; ++j) {
            const Plan::Block& b = blocks[j];
            const bool together = a.first <= b.last && b.first <= a.last;
            const bool overlap = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
            if (together && overlap)
                FAIL_CHECK(a.name, " (", a.purpose, ") overlaps ", b.name, " (", b.purpose, ")");
        }
    }
}

}  // namespace

TEST_CASE(
    "blocks that are alive at the same time do not overlap, and the arena is hardly more than the peak") {
    const auto backend = make_backend("cpu");
    const Config config = small_config();
    for (const int n : {1, 3}) {
        const Plan plan = training_plan(*backend, config, n, 24, 40);
        check_blocks(plan);
        CHECK(plan.arena_bytes() >= live_peak(plan));
        // First-fit leaves holes; for this network they are a few per cent.
        CHECK(double(plan.arena_bytes()) <= 1.10 * double(live_peak(plan)));
    }
    Algorithms algorithms;
    const Plan inference(record_inference_model(*backend, config, 1, 24, 40, 4).graph, *backend, algorithms,
                         false);
    check_blocks(inference);
    CHECK(double(inference.arena_bytes()) <= 1.10 * double(live_peak(inference)));
    // Without a backward pass the encoder's tensors but the skips die at once.
    CHECK(inference.arena_bytes() < training_plan(*backend, config, 1, 24, 40).arena_bytes() * 3 / 4);
}

TEST_CASE("the table names every block and the arena") {
    const auto backend = make_backend("cpu");
    const Plan plan = training_plan(*backend, small_config(), 1, 16, 24);
    const std::string table = plan.table();
    for (const Plan::Block& b : plan.blocks()) {
        CHECK(table.find(b.name) != std::string::npos);
        CHECK(table.find(b.purpose) != std::string::npos);
        CHECK(table.find(" " + std::to_string(b.bytes) + " ") != std::string::npos);
        CHECK(table.find(text("  ", b.first, "-", b.last, "\n")) != std::string::npos);
    }
    // Every tensor that is not a slice of another one.
    for (std::size_t t = 0; t < plan.graph().tensors().size(); ++t)
        if (plan.graph().tensors()[t].root == int(t))
            CHECK(table.find(plan.graph().tensors()[t].name) != std::string::npos);
    CHECK(std::count(table.begin(), table.end(), '\n') == std::ptrdiff_t(plan.blocks().size()) + 2);
    CHECK(table.find(text("arena: ", plan.arena_bytes(), " bytes")) != std::string::npos);
    CHECK(table.find(text("most alive at once: ", live_peak(plan), " bytes")) != std::string::npos);
}

TEST_CASE("an arena that is too small is refused") {
    const auto backend = make_backend("cpu");
    Plan plan = training_plan(*backend, small_config(), 1, 16, 24);
    const Parameters parameters(*backend, plan.graph().parameters(), true);
    const Arena arena(*backend, plan.arena_bytes() - 64);
    CHECK_THROWS_AS(plan.bind(arena, parameters), Error);
}

TEST_CASE("the default network has 1,796,034 parameters under PyTorch's names") {
    const auto backend = make_backend("cpu");
    const Graph graph = record_training_model(*backend, Config(), 1, 16, 16).graph;
    CHECK(graph.parameter_count() == 1796034);

    std::vector<std::pair<std::string, std::vector<std::int64_t>>> expected;
    const auto layer = [&](const std::string& name, std::int64_t in, std::int64_t out, std::int64_t kernel) {
        expected.push_back({name + ".weight", {out, in, kernel, kernel}});
        expected.push_back({name + ".bias", {out}});
    };
    const auto blocks = [&](const std::string& name, std::int64_t in, std::int64_t out) {
        layer(name + ".conv_block.0", in, out, 3);
        layer(name + ".conv_block.2", out, out, 3);
    };
    blocks("c0x0", 1, 32);
    blocks("encoder.0.double_conv", 32, 64);
    blocks("encoder.1.double_conv", 64, 128);
    blocks("encoder.2.double_conv", 128, 256);
    layer("decoder.0.upsampling.1", 256, 128, 1);
    blocks("decoder.0.double_conv", 256, 128);
    layer("decoder.1.upsampling.1", 128, 64, 1);
    blocks("decoder.1.double_conv", 128, 64);
    layer("decoder.2.upsampling.1", 64, 32, 1);
    blocks("decoder.2.double_conv", 64, 32);
    layer("c1x1", 32, 2, 1);

    REQUIRE(graph.parameters().size() == expected.size());
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const Parameter& p = graph.parameters()[i];
        CHECK(p.name == expected[i].first);
        CHECK(p.shape == expected[i].second);
        CHECK(p.offset == offset);
        offset += p.size;
    }
}

TEST_CASE("initial weights: uniform in ±1/√fan_in, by the seed alone") {
    const auto backend = make_backend("cpu");
    const Graph graph = record_training_model(*backend, Config(), 1, 8, 8).graph;
    Parameters parameters(*backend, graph.parameters(), false), same(*backend, graph.parameters(), false);
    parameters.initialise(42);
    same.initialise(42);
    const std::vector<float> weights = parameters.host_weights();
    CHECK(weights == same.host_weights());
    same.initialise(43);
    CHECK(weights != same.host_weights());
    for (const Parameter& p : graph.parameters()) {
        const double bound = 1 / std::sqrt(double(p.fan_in));
        double largest = 0, mean = 0, square = 0;
        for (std::int64_t k = p.offset; k < p.offset + p.size; ++k) {
            largest = std::max(largest, std::abs(double(weights[k])));
            mean += weights[k] / double(p.size);
            square += double(weights[k]) * weights[k] / double(p.size);
        }
        CAPTURE(p.name);
        CHECK(largest <= bound * 1.000001);  // the bound itself is rounded to single precision
        if (p.size < 1000) continue;
        // Five standard deviations of the mean and of the mean square of that many uniform numbers.
        CHECK(std::abs(mean) < 5 * bound / std::sqrt(3.0 * double(p.size)));
        CHECK(std::abs(square - bound * bound / 3) <
              5 * bound * bound * std::sqrt(4.0 / 45 / double(p.size)));
    }
}

TEST_CASE("initial weights by He: ±√(6 / ((1 + slope²)·fan_in)), no bias, and a last layer of zeros") {
    Config config;
    config.network.he = true;
    config.network.slope = 0.2;
    const auto backend = make_backend("cpu");
    const Graph graph = record_training_model(*backend, config, 1, 8, 8).graph;
    Parameters parameters(*backend, graph.parameters(), false);
    parameters.initialise(42);
    const std::vector<float> weights = parameters.host_weights();
    for (const Parameter& p : graph.parameters()) {
        CAPTURE(p.name);
        const bool zero = p.name.ends_with(".bias") || p.name.starts_with("c1x1");
        const double slope =
            p.name.find("upsampling") == std::string::npos ? 0.2 : 1;  // no ReLU behind that one
        const double bound = zero ? 0 : std::sqrt(6 / ((1 + slope * slope) * double(p.fan_in)));
        double largest = 0;
        for (std::int64_t k = p.offset; k < p.offset + p.size; ++k)
            largest = std::max(largest, std::abs(double(weights[k])));
        CHECK(largest <= bound * 1.000001);  // the bound itself is rounded to single precision
        if (!zero)
            CHECK(largest > 0.97 * bound);  // of 288 numbers or more: by chance below it in 2e-4 of all
    }
}

TEST_CASE("an input that the loss does not depend on gets a gradient of zero") {
    const auto backend = make_backend("cpu");
    Graph graph(1);
    const Value idle = graph.input("idle", 1, 2, 3, 5, true), x = graph.input("x", 1, 1, 3, 5, true);
    max_pool(graph, idle);
    loss(graph, x, graph.input("target", 1, 1, 3, 5), LossKind::mse);
    Algorithms algorithms;
    Plan plan(std::move(graph), *backend, algorithms, true);
    const Parameters parameters(*backend, plan.graph().parameters(), true);
    const Arena arena(*backend, plan.arena_bytes());
    plan.bind(arena, parameters);
    poison(arena);
    set_input(plan, idle, Doubles(30, 1.0));
    set_input(plan, x, Doubles(15, 1.0));
    set_input(plan, {3}, Doubles(15, 0.0));
    plan.forward();
    plan.backward();
    CHECK(floats(plan.gradient(idle)) == std::vector<float>(30, 0.0f));
    CHECK(floats(plan.gradient(x)) == std::vector<float>(15, 2.0f / 15));
}

TEST_CASE("what does not fit together is refused when recorded") {
    const auto backend = make_backend("cpu");
    Graph graph(1);
    const Value a = graph.input("a", 1, 1, 6, 10), b = graph.input("b", 1, 1, 6, 9);
    const Value two = convolution(graph, a, "two", 2, 3, 1), four = convolution(graph, a, "four", 4, 3, 1);
    CHECK_THROWS_AS(add(graph, a, b), Error);
    CHECK_THROWS_AS(add(graph, two, four), Error);
    CHECK_THROWS_AS(concatenate(graph, {a, b}), Error);
    CHECK_THROWS_AS(concatenate(graph, {}), Error);
    CHECK_THROWS_AS(convolution(graph, four, "two", 2, 3, 1), Error);  // another shape under the same name
    CHECK_THROWS_AS(map_from_raw(graph, a, {}, 2), Error);
    CHECK_THROWS_AS(denoise(graph, two, a, {}, 4), Error);
    CHECK_THROWS_AS(denoise(graph, a, b, {}, 4), Error);
    CHECK_THROWS_AS(denoise(graph, a, four, {}, 4), Error);
    CHECK_THROWS_AS(loss(graph, a, b, LossKind::mse), Error);
    CHECK_THROWS_AS(loss(graph, a, two, LossKind::mse), Error);  // a target that would need a gradient
    Value flat = graph.input("flat", 1, 1, 1, 5);
    CHECK_THROWS_AS(max_pool(graph, flat), Error);
    CHECK_THROWS_AS(record_training_model(*backend, Config(), 1, 20, 16), Error);  // 20 is no multiple of 8
    Algorithms algorithms;
    CHECK_THROWS_AS(Plan(std::move(graph), *backend, algorithms, true), Error);  // no loss at the end
}
