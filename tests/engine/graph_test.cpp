// Graphs against a tape in double: values and the derived backward pass of U-Net-like and other networks, in
// blocks of channels and planar, single images and batches, odd sizes; the plan's promises on the way
// (nothing is read before it is written; results do not depend on the arena). The tape is checked by finite
// differences.
#include "engine/graph/graph.h"

#include <doctest/doctest.h>

#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "tests/support/recording.h"

using namespace tvmap;
using namespace tvmap::tests;

namespace {

struct Setting {
    int n = 1, h = 6, w = 10;
    int wide = 5, wider = 7;  ///< channels; multiples of 16 lie in blocks
    bool logarithm = false;
    std::string text() const {
        return tvmap::text(n, "x", h, "x", w, ", ", wide, " and ", wider, " channels");
    }
};

int block_of(const Setting& s) { return s.wide % 16 == 0 ? make_backend("cpu")->channel_block(s.wide) : 1; }

/// The tape of a network on given inputs and weights, and the loss.
struct Taped {
    std::unique_ptr<reference::Tape> tape;
    int z, loss;

    template <class Network>
    Taped(const Network& network, const Setting& s, const NamedDoubles& weights, const Doubles& noisy,
          const Doubles& target)
        : tape(std::make_unique<reference::Tape>(weights)) {
        z = tape->input(s.n, 1, s.h, s.w, noisy);
        const int x = network(*tape, z, s);
        const reference::Tape::Node shape = tape->node(x);
        loss = tape->loss(x, tape->input(shape.n, shape.c, shape.h, shape.w, target), s.logarithm);
    }
    double value() const { return tape->node(loss).value[0]; }
};

/// The engine's graph of a network, planned, its parameters allocated.
struct Planned {
    std::unique_ptr<Backend> backend = make_backend("cpu");
    Value z, target;
    std::unique_ptr<Plan> plan;
    std::unique_ptr<Parameters> parameters;

    Planned() = default;
    template <class Network>
    Planned(const Network& network, const Setting& s) {
        Recorder recorder(block_of(s));
        z = recorder.graph.input("z", s.n, 1, s.h, s.w, true);
        const Value x = network(recorder, z, s);
        const Features shape = recorder.graph.tensor(x).shape;
        target = recorder.graph.input("target", shape.n, shape.c, shape.h, shape.w);
        tvmap::loss(recorder.graph, x, target, s.logarithm ? LossKind::log_mse : LossKind::mse);
        Algorithms algorithms;
        plan = std::make_unique<Plan>(std::move(recorder.graph), *backend, algorithms, true);
        parameters = std::make_unique<Parameters>(*backend, plan->graph().parameters(), true);
    }
};

struct Gradients {
    double loss = 0;
    std::vector<float> weights, z;
    bool operator==(const Gradients&) const = default;
};

Gradients run(Planned& p, const Arena& arena, const Doubles& noisy, const Doubles& target) {
    p.plan->bind(arena, *p.parameters);
    poison(arena);
    std::fill_n(p.parameters->gradient(0), p.parameters->count(), NAN);
    set_input(*p.plan, p.z, noisy);
    set_input(*p.plan, p.target, target);
    p.plan->forward();
    p.plan->backward();
    return {p.plan->loss(), p.parameters->host_gradients(), floats(p.plan->gradient(p.z))};
}

/// Central difference of the tape's loss along `weights_direction` and `z_direction`.
template <class Network>
double finite_difference(const Network& network, const Setting& s, NamedDoubles weights, Doubles noisy,
                         const Doubles& target, const NamedDoubles& weights_direction,
                         const Doubles& z_direction) {
    const double h = 1e-6;
    const auto move = [&](double by) {
        for (auto& [name, w] : weights)
            for (std::size_t k = 0; k < w.size(); ++k) w[k] += by * weights_direction.at(name)[k];
        for (std::size_t k = 0; k < noisy.size(); ++k) noisy[k] += by * z_direction[k];
    };
    move(h);
    const double above = Taped(network, s, weights, noisy, target).value();
    move(-2 * h);
    return (above - Taped(network, s, weights, noisy, target).value()) / (2 * h);
}

/// Compares everything. `finite`: whether to prove the tape by finite differences too.
template <class Network>
void check(const Network& network, const Setting& s, bool finite) {
    CAPTURE(s.text());
    set_threads(std::min(s.n, 2));
    Planned planned(network, s);
    const std::vector<Parameter>& list = planned.parameters->list();
    const std::size_t pixels = std::size_t(s.n) * s.h * s.w;

    // Weights whose decisions no rounding turns: 5e-6 is some fifty times single precision's rounding of sums
    // of size one, and ten times what Winograd's transforms cost.
    NamedDoubles weights;
    Doubles noisy, target;
    std::unique_ptr<Taped> exact;
    for (unsigned seed = 1; !exact || exact->tape->margin() < 5e-6; ++seed) {
        REQUIRE(seed < 200);
        std::mt19937 generator(seed);
        weights = random_weights(generator, list);
        noisy = random_values(generator, pixels, 0, 1);
        target = random_values(generator, std::size_t(planned.plan->view(planned.target).shape.size()), 0, 1);
        exact = std::make_unique<Taped>(network, s, weights, noisy, target);
    }
    exact->tape->backward(exact->loss);
    const NamedDoubles& gradients = exact->tape->gradients();
    const Doubles& d_z = exact->tape->node(exact->z).gradient;

    if (finite) {
        std::mt19937 generator(7);
        const double size = norm(flattened(gradients, list)) + norm(d_z);
        NamedDoubles direction;
        for (const Parameter& p : list) {
            direction[p.name] = random_values(generator, std::size_t(p.size), -1, 1);
            for (double& v : direction[p.name]) v /= std::sqrt(double(planned.parameters->count()));
        }
        Doubles z_direction = random_values(generator, pixels, -1, 1);
        for (double& v : z_direction) v /= std::sqrt(double(pixels));
        double expected = 0;
        for (const Parameter& p : list)
            for (std::size_t k = 0; k < direction[p.name].size(); ++k) {
                direction[p.name][k] += gradients.at(p.name)[k] / size;
                expected += direction[p.name][k] * gradients.at(p.name)[k];
            }
        for (std::size_t k = 0; k < pixels; ++k) {
            z_direction[k] += d_z[k] / size;
            expected += z_direction[k] * d_z[k];
        }
        // Cancellation in a difference of losses near one over 2e-6 leaves some 1e-10; no kink lies that
        // near.
        CHECK(std::abs(finite_difference(network, s, weights, noisy, target, direction, z_direction) -
                       expected) < 1e-6 * size);
    }

    set_weights(*planned.parameters, weights);
    const Arena arena(*planned.backend, planned.plan->arena_bytes());
    const Gradients first = run(planned, arena, noisy, target);
    // Single precision through some ten operations; Winograd's transforms cost up to 1e-6 each.
    const double tolerance = 2e-5;
    CHECK(std::abs(first.loss - exact->value()) <= tolerance * std::abs(exact->value()));
    CHECK(difference(first.z, d_z) < tolerance);
    for (const Parameter& p : list) {
        CAPTURE(p.name);
        const std::vector<float> own(first.weights.begin() + p.offset,
                                     first.weights.begin() + p.offset + p.size);
        CHECK(difference(own, gradients.at(p.name)) < tolerance);
    }

    // Another arena, and the first one again with what the last run left in it: the same bits.
    const Arena other(*planned.backend, planned.plan->arena_bytes() + 4096);
    CHECK(run(planned, other, noisy, target) == first);
    planned.plan->forward();
    planned.plan->backward();
    CHECK(planned.parameters->host_gradients() == first.weights);
    CHECK(floats(planned.plan->gradient(planned.z)) == first.z);
}

constexpr double slope = 0.1;  // strong enough that a wrong side of the kink shows

/// In planar and blocked layouts, single and batched, at sides that suit networks which halve.
template <class Network>
void check_everywhere(const Network& network) {
    check(network, {1, 6, 10, 5, 7}, true);
    check(network, {3, 10, 6, 7, 5, true}, true);
    check(network, {1, 10, 14, 16, 32}, false);
    check(network, {3, 6, 10, 16, 32}, false);
}

/// The same at odd sides.
template <class Network>
void check_odd(const Network& network) {
    check(network, {1, 7, 9, 5, 7}, true);
    check(network, {3, 5, 11, 7, 5, true}, true);
    check(network, {1, 9, 13, 16, 32}, false);
    check(network, {3, 7, 5, 32, 16}, false);
}

const reference::Pdhg eight_steps{0, 0, 8, 1.0f / 3, 1.0f / 3, 1, false, false};

}  // namespace

TEST_CASE("a U-Net with one skip") {
    check_everywhere([](auto& net, auto z, const Setting& s) {
        const auto skip = net.convolution(z, "in", s.wide, 3, slope);
        auto x = net.convolution(net.max_pool(skip), "deep", s.wider, 3, slope);
        x = net.upsample(net.convolution(x, "narrow", s.wide, 1, 1));
        x = net.convolution(net.concatenate({skip, x}), "join", s.wide, 3, slope);
        return net.convolution(x, "out", 1, 1, 1);
    });
}

TEST_CASE("max pooling that drops an odd row and column, twice, and upsampling of what is left") {
    check_odd([](auto& net, auto z, const Setting& s) {
        const auto x = net.max_pool(net.convolution(z, "in", s.wide, 3, slope));
        const auto y = net.max_pool(net.convolution(x, "half", s.wider, 3, slope));
        return net.convolution(net.upsample(y), "out", 2, 1, 1);  // from a single row where 7 were
    });
}

TEST_CASE("a residual value used three times, and a sum of a value with itself") {
    check_odd([](auto& net, auto z, const Setting& s) {
        const auto x = net.convolution(z, "in", s.wide, 3, slope);
        const auto y = net.convolution(x, "body", s.wide, 3, slope);
        const auto once = net.add(y, x);
        const auto twice = net.add(x, once);
        const auto doubled = net.add(twice, twice);
        return net.add(net.convolution(doubled, "out", 1, 1, 1), z);
    });
}

TEST_CASE("shared parameters add up their gradients") {
    check_odd([](auto& net, auto z, const Setting& s) {
        auto x = net.convolution(z, "in", s.wide, 3, slope);
        for (int repeat = 0; repeat < 3; ++repeat) x = net.convolution(x, "shared", s.wide, 3, slope);
        const auto narrow = net.convolution(x, "out", 1, 1, 1);
        return net.convolution(net.add(narrow, z), "in_again", 1, 3, slope);
    });
}

namespace {

/// y = a·x + b, a and b one number each.
class Affine final : public Operation {
  public:
    std::string kind() const override { return "affine"; }
    Features output_shape(const Graph& graph) const override { return graph.tensors()[inputs[0]].shape; }
    bool backward_reads_input(int) const override { return true; }
    void forward(const Binding& b) override {
        for (std::int64_t i = 0; i < b.output.shape.size(); ++i)
            b.output.data[i] = b.parameters[0][0] * b.inputs[0].data[i] + b.parameters[1][0];
    }
    void backward(const Binding& b) override {
        float d_a = 0, d_b = 0;
        for (std::int64_t i = 0; i < b.d_output.shape.size(); ++i) {
            d_a += b.d_output.data[i] * b.inputs[0].data[i];
            d_b += b.d_output.data[i];
        }
        for (std::int64_t i = 0; b.d_inputs[0].data && i < b.d_output.shape.size(); ++i)
            b.d_inputs[0].data[i] = b.parameters[0][0] * b.d_output.data[i] +
                                    (b.d_input_write[0] == Write::accumulate ? b.d_inputs[0].data[i] : 0);
        const bool adds = b.parameter_write == Write::accumulate;
        b.d_parameters[0][0] = d_a + (adds ? b.d_parameters[0][0] : 0);
        b.d_parameters[1][0] = d_b + (adds ? b.d_parameters[1][0] : 0);
    }
};

}  // namespace

TEST_CASE("an operation that shares one parameter and has another of its own") {
    constexpr float a = 0.5f, b1 = 0.25f, b2 = -1;
    Planned p;
    Graph graph(1);
    p.z = graph.input("z", 1, 1, 2, 2, true);
    p.target = graph.input("target", 1, 1, 2, 2);
    const auto affine = [&](Value x, const std::string& own) {
        auto operation = std::make_unique<Affine>();
        operation->parameters = {graph.parameter("a", {1}, 1), graph.parameter(own, {1}, 1)};
        return graph.record(std::move(operation), {x}, own);
    };
    loss(graph, affine(affine(p.z, "b1"), "b2"), p.target, LossKind::mse);
    Algorithms algorithms;
    p.plan = std::make_unique<Plan>(std::move(graph), *p.backend, algorithms, true);
    p.parameters = std::make_unique<Parameters>(*p.backend, p.plan->graph().parameters(), true);
    set_weights(*p.parameters, {{"a", {a}}, {"b1", {b1}}, {"b2", {b2}}});

    const Doubles z{1, 2, -1, 0.5}, target{0, 1, 1, 0};
    double d_a = 0, d_b1 = 0, d_b2 = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
        const double inner = a * z[i] + b1, d_y = 2 * (a * inner + b2 - target[i]) / double(z.size());
        d_a += d_y * inner + a * d_y * z[i];
        d_b1 += a * d_y;
        d_b2 += d_y;
    }
    const Arena arena(*p.backend, p.plan->arena_bytes());
    const Gradients first = run(p, arena, z, target);
    REQUIRE(first.weights.size() >= 3);
    const auto of = [&](const std::string& name) {
        for (const Parameter& parameter : p.parameters->list())
            if (parameter.name == name) return double(first.weights[std::size_t(parameter.offset)]);
        return double(NAN);
    };
    // A few additions in single precision.
    CHECK(of("a") == doctest::Approx(d_a).epsilon(1e-6));
    CHECK(of("b1") == doctest::Approx(d_b1).epsilon(1e-6));
    CHECK(of("b2") == doctest::Approx(d_b2).epsilon(1e-6));
    CHECK(run(p, arena, z, target) == first);
}

TEST_CASE("slices that others read after the concatenation, the neighbour's gradient first") {
    check_odd([](auto& net, auto z, const Setting& s) {
        const auto a = net.convolution(z, "a", s.wide, 3, slope);
        const auto b = net.convolution(z, "b", s.wide, 3, slope);
        const auto c = net.convolution(z, "c", s.wide, 3, slope);
        const auto all = net.concatenate({a, b, c});
        const auto of_all = net.convolution(all, "of_all", s.wider, 3, slope);
        const auto of_b = net.convolution(b, "of_b", s.wider, 1, slope);  // in reverse, slice b comes first
        const auto of_a_and_c = net.convolution(net.add(a, c), "of_a_and_c", s.wider, 3, slope);
        return net.convolution(net.add(net.add(of_all, of_b), of_a_and_c), "out", 1, 1, 1);
    });
    check_odd([](auto& net, auto z, const Setting& s) {
        const auto a = net.convolution(z, "a", s.wide, 3, slope);
        const auto b = net.convolution(a, "b", s.wide, 3, slope);
        const auto both = net.concatenate({a, b});
        const auto of_b = net.convolution(b, "of_b", s.wider, 3, slope);
        const auto of_both = net.convolution(both, "of_both", s.wider, 1, slope);
        return net.convolution(net.add(of_both, of_b), "out", 1, 1, 1);
    });
}

TEST_CASE("a value concatenated twice, a slice and a concatenation concatenated again") {
    check_odd([](auto& net, auto z, const Setting& s) {
        const auto a = net.convolution(z, "a", s.wide, 3, slope);
        const auto b = net.convolution(a, "b", s.wide, 1, slope);
        const auto twice = net.concatenate({a, a, b});
        const auto of_twice = net.convolution(twice, "of_twice", s.wide, 1, slope);
        const auto again = net.concatenate({b, twice, of_twice, a});
        return net.convolution(net.convolution(again, "join", s.wide, 3, slope), "out", 1, 1, 1);
    });
}

TEST_CASE("an input concatenated") {
    const auto network = [](auto& net, auto z, const Setting& s) {
        const auto a = net.convolution(z, "a", s.wide, 3, slope);
        return net.convolution(net.concatenate({z, a, z}), "out", 1, 3, 1);
    };
    check(network, {1, 7, 9, 5, 7}, true);
    check(network, {3, 5, 11, 7, 5}, true);
}

TEST_CASE("what the loss does not depend on gets a gradient of zero") {
    check_odd([](auto& net, auto z, const Setting& s) {
        const auto a = net.convolution(z, "a", s.wide, 3, slope);
        const auto b = net.convolution(a, "b", s.wide, 3, slope);
        const auto unread = net.concatenate({a, b});
        net.convolution(unread, "unused", s.wider, 3, slope);
        return net.convolution(a, "out", 1, 1, 1);
    });
}

TEST_CASE("the solver: gradients through its image and its map") {
    const auto with = [](const reference::Pdhg& solver, double up_bound, int maps, bool first) {
        return [=](auto& net, auto z, const Setting& s) {
            const auto x = net.convolution(z, "in", s.wide, 3, slope);
            const auto raw = net.convolution(x, "raw", 2, 1, 1);
            const auto lambda = net.map_from_raw(raw, 0.1, up_bound, maps);
            const auto denoised = net.denoise(z, lambda, solver);
            // Which of d_z and d_Λ starts the other way depends on who else uses z.
            return first ? net.add(denoised, z) : denoised;
        };
    };
    reference::Pdhg image_start = eight_steps, neumann = eight_steps;
    image_start.start_at_image = true;
    image_start.theta = 0.75;
    neumann.neumann = true;
    check_odd(with(eight_steps, 0, 1, false));
    check_odd(with(image_start, 0.25, 2, true));
    check(with(neumann, 0, 2, true), {2, 7, 9, 5, 7}, true);
}

TEST_CASE("the solver between networks, its image and its result in concatenations") {
    const auto network = [](auto& net, auto z, const Setting& s) {
        const auto raw = net.convolution(net.convolution(z, "in", s.wide, 3, slope), "raw", 1, 1, 1);
        const auto lambda = net.map_from_raw(raw, 0.1, 0, 1);
        const auto denoised = net.denoise(z, lambda, eight_steps);
        const auto all = net.concatenate({denoised, lambda, z, raw});
        const auto next = net.convolution(all, "next", 3, 3, slope);
        const auto image = net.convolution(next, "image", 1, 1, 1);
        const auto map = net.map_from_raw(net.convolution(next, "map", 1, 1, 1), 0.1, 0, 1);
        const auto both = net.concatenate({image, map});  // the solver reads what lies in slices
        return net.add(net.denoise(image, map, eight_steps), net.convolution(both, "rest", 1, 1, 1));
    };
    check(network, {1, 7, 9, 5, 7}, true);
    check(network, {3, 5, 11, 7, 5}, true);
}
