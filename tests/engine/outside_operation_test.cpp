// Operations written wholly outside the library (tests/outside/): average pooling and the product of two values. Their
// gradients on both backends against central differences in double; a network with them in training, recorded on CUDA,
// against the same training in double; and what is refused.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/graph/operations.h"
#include "engine/graph/parameters.h"
#include "engine/graph/plan.h"
#include "kernels/base/error.h"
#include "kernels/cuda_loader.h"
#include "tests/outside/average_pool_operation.h"
#include "tests/outside/multiplication_operation.h"
#include "tests/support/device_buffer.h"
#include "tests/support/recording.h"

using namespace tvmap;
using namespace tvmap::tests;

extern "C" const CudaLibrary* tvmap_cuda_library();

namespace {

std::unique_ptr<Backend> backend_of(const std::string& name) {
    return name == "cpu" ? make_backend("cpu") : tvmap_cuda_library()->open("fp32");
}

/// What a reference::Tape computes, with the operations from outside.
struct OutsideRecorder : Recorder {
    using Recorder::Recorder;
    Value average_pool(Value x) { return outside::average_pool(graph, x); }
    Value multiply(Value a, Value b) { return outside::multiplication(graph, a, b); }
};

struct Size {
    int n, c, h, w;
    std::size_t count() const { return std::size_t(n) * c * h * w; }
};

/// A network of one input and a loss on one backend.
struct Planned {
    std::unique_ptr<Backend> backend;
    Value z, target;
    std::unique_ptr<Plan> plan;
    std::unique_ptr<Parameters> parameters;
    std::unique_ptr<Arena> arena;

    template <class Network>
    Planned(const std::string& name, const Network& network, const Size& size, int block)
        : backend(backend_of(name)) {
        OutsideRecorder recorder(block);
        z = recorder.graph.input("z", size.n, size.c, size.h, size.w, true);
        const Value x = network(recorder, z);
        const Features shape = recorder.graph.tensor(x).shape;
        target = recorder.graph.input("target", shape.n, shape.c, shape.h, shape.w);
        tvmap::loss(recorder.graph, x, target, LossKind::mse);
        Algorithms algorithms;
        plan = std::make_unique<Plan>(std::move(recorder.graph), *backend, algorithms, true);
        parameters = std::make_unique<Parameters>(*backend, plan->graph().parameters(), true);
        arena = std::make_unique<Arena>(*backend, plan->arena_bytes());
        plan->bind(*arena, *parameters);
    }
    void upload(Value value, const Doubles& values) const {
        const std::vector<float> host = to_float(values);
        backend->upload(plan->view(value).data, host.data(), sizeof(float) * host.size());
    }
    std::vector<float> gradient(Value value) const {
        const View view = plan->gradient(value);
        std::vector<float> host(std::size_t(view.shape.size()));
        backend->download(host.data(), view.data, sizeof(float) * host.size());
        return host;
    }
    void passes() const {
        plan->forward();
        plan->backward();
    }
};

/// The loss of the network in double, and its tape.
template <class Network>
struct Taped {
    reference::Tape tape;
    int z, x, loss;

    Taped(const Network& network, const Size& size, const NamedDoubles& weights, const Doubles& image,
          const Doubles& target)
        : tape(weights), z(tape.input(size.n, size.c, size.h, size.w, image)), x(network(tape, z)) {
        const reference::Tape::Node shape = tape.node(x);
        loss = tape.loss(x, tape.input(shape.n, shape.c, shape.h, shape.w, target), false);
    }
    double value() const { return tape.node(loss).value[0]; }
};

/// The gradient for z, entry by entry, by central differences in double.
template <class Network>
Doubles central_differences(const Network& network, const Size& size, const NamedDoubles& weights,
                            Doubles image, const Doubles& target) {
    const double h = 1e-5;
    Doubles gradient;
    for (double& entry : image) {
        const double before = entry;
        entry = before + h;
        const double above = Taped(network, size, weights, image, target).value();
        entry = before - h;
        gradient.push_back((above - Taped(network, size, weights, image, target).value()) / (2 * h));
        entry = before;
    }
    return gradient;
}

template <class Network>
void check_gradient(const Network& network, const Size& size, int block = 1) {
    CAPTURE(size.h);
    CAPTURE(size.w);
    CAPTURE(block);
    for (const std::string name : {"cpu", "cuda"}) {
        if (name == "cuda" && block != 1) continue;  // whose tensors are planar
        CAPTURE(name);
        const Planned planned(name, network, size, block);
        std::mt19937 generator(5);
        const NamedDoubles weights = random_weights(generator, planned.parameters->list());
        const Doubles image = random_values(generator, size.count(), -1, 1);
        const Doubles target =
            random_values(generator, std::size_t(planned.plan->view(planned.target).shape.size()), -1, 1);
        set_weights(*planned.parameters, weights);
        planned.upload(planned.z, image);
        planned.upload(planned.target, target);
        planned.passes();
        const Taped taped(network, size, weights, image, target);
        // Some ten roundings to single precision, and products of nine to 300 terms.
        CHECK(planned.plan->loss() == doctest::Approx(taped.value()).epsilon(2e-6));
        // The same; a difference of losses near one over 2e-5 is off by some 1e-11, its h² term by 1e-10.
        CHECK(relative_difference(planned.gradient(planned.z),
                                  central_differences(network, size, weights, image, target)) < 2e-6);
    }
}

/// A gate, a detour at half the size that reads a slice, and a square.
const auto gated_network = [](auto& net, auto z) {
    constexpr double slope = 0.1;
    const auto a = net.convolution(z, "a", 6, 3, slope), gate = net.convolution(z, "gate", 6, 3, 1);
    const auto gated = net.multiply(a, gate);
    const auto coarse = net.convolution(net.average_pool(gated), "coarse", 6, 3, slope);
    const auto both = net.concatenate({gated, net.upsample(coarse)});
    const auto y = net.convolution(both, "out", 1, 1, 1);
    return net.add(net.multiply(y, y), z);
};

}  // namespace

TEST_CASE("average pooling: value and gradient, odd sides and batches, read twice") {
    const auto pool = [](auto& net, auto z) { return net.average_pool(z); };
    for (const Size size : {Size{1, 1, 2, 2}, {2, 3, 5, 8}, {3, 2, 4, 7}}) check_gradient(pool, size);
    check_gradient([](auto& net, auto z) { return net.add(net.average_pool(z), net.max_pool(z)); },
                   {2, 1, 5, 7});
}

TEST_CASE("products: value and gradient, of a value with itself too") {
    const Size size{2, 3, 3, 5};
    check_gradient([](auto& net, auto z) { return net.multiply(z, z); }, size);
    check_gradient([](auto& net, auto z) { return net.multiply(net.multiply(z, z), z); }, size);
    check_gradient([](auto& net, auto z) { return net.multiply(net.average_pool(z), net.average_pool(z)); },
                   {2, 2, 4, 5});
}

TEST_CASE("slices of a concatenation, and blocks of channels") {
    const auto network = [](int channels) {
        return [channels](auto& net, auto z) {
            const auto a = net.convolution(z, "a", channels, 3, 1),
                       b = net.convolution(z, "b", channels, 1, 1);
            const auto both =
                net.concatenate({a, net.multiply(a, b)});  // whose second input is written as a slice
            const auto pooled = net.multiply(net.average_pool(a), net.average_pool(b));
            return net.convolution(
                net.concatenate({pooled, net.average_pool(net.multiply(b, a)), net.max_pool(both)}), "out", 1,
                1, 1);
        };
    };
    check_gradient(network(3), {2, 1, 5, 6});
    for (const int block : {8, 16}) check_gradient(network(16), {2, 1, 4, 6}, block);
}

TEST_CASE("a network with both in training: the loss falls, step by step as in double") {
    const Size size{2, 1, 6, 8};
    const int steps = 50;
    const double rate = 2e-2;
    std::mt19937 generator(11);
    const Doubles image = random_values(generator, size.count(), 0, 1);
    Doubles target = image;
    for (std::size_t i = 0; i < target.size(); ++i) target[i] = image[i] + 0.5 * (1 - image[i]) * image[i];

    Doubles losses;
    NamedDoubles weights;
    {
        const Planned shapes("cpu", gated_network, size, 1);
        weights = random_weights(generator, shapes.parameters->list());
    }
    const NamedDoubles start = weights;
    reference::Adam adam;
    adam.rate = rate;
    for (int step = 0; step < steps; ++step) {
        Taped taped(gated_network, size, weights, image, target);
        losses.push_back(taped.value());
        taped.tape.backward(taped.loss);
        adam.step(weights, taped.tape.gradients());
    }
    CHECK(losses.back() < 0.2 * losses.front());

    std::vector<float> replayed;
    for (const std::string name : {"cpu", "cuda", "cuda, recorded"}) {
        CAPTURE(name);
        const Planned planned(name.substr(0, name.find(',')), gated_network, size, 1);
        set_weights(*planned.parameters, start);
        planned.upload(planned.z, image);
        planned.upload(planned.target, target);
        std::unique_ptr<Recording> recording;
        if (name == "cuda, recorded") {
            planned.passes();  // what libraries load at their first call cannot be loaded in a recording
            planned.backend->synchronise();
            recording = planned.backend->record([&] { planned.passes(); });
        }
        for (int step = 0; step < steps; ++step) {
            if (recording)
                recording->replay();
            else
                planned.passes();
            CAPTURE(step);
            // Single precision's rounding of weights, of the size of one, 50 times.
            CHECK(planned.plan->loss() == doctest::Approx(losses[std::size_t(step)]).epsilon(1e-4));
            planned.parameters->adam_step({rate, 0.9, 0.999, 1e-8, step + 1});
        }
        const std::vector<float> end = planned.parameters->host_weights();
        CHECK(relative_difference(end, flattened(weights, planned.parameters->list())) < 1e-4);
        if (name == "cuda") replayed = end;
        if (recording) CHECK(compared_bits(end, replayed));
    }
}

namespace {

void negate(ConstView x, View y) {
    for (int n = 0; n < x.shape.n; ++n)
        for (std::int64_t i = 0; i < x.shape.image_size(); ++i) y.image(n)[i] = -x.image(n)[i];
}
constexpr Kernel negation{"negation", negate};

/// −x, for the CPU alone. `announces` it or not.
class Negation final : public Operation {
  public:
    explicit Negation(bool announces) : announces_(announces) {}
    std::string kind() const override { return "minus"; }
    std::vector<KernelId> kernels() const override {
        return announces_ ? std::vector{negation.id()} : std::vector<KernelId>();
    }
    Features output_shape(const Graph& graph) const override { return graph.tensors()[inputs[0]].shape; }
    void forward(const Binding& b) override { negation(*b.backend, b.inputs[0], b.output); }
    void backward(const Binding&) override {}

  private:
    bool announces_;
};

std::string refusal(const std::function<void()>& call) {
    try {
        call();
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

/// −x of a graph without a backward pass.
std::string run_negation(const std::string& device, bool announces, std::vector<float>& result) {
    return refusal([&] {
        const auto backend = backend_of(device);
        Graph graph(1);
        const Value x = graph.input("x", 1, 1, 1, 2);
        const Value y = graph.record(std::make_unique<Negation>(announces), {x}, "minus x");
        graph.keep(y);
        Algorithms algorithms;
        Plan plan(std::move(graph), *backend, algorithms, false);
        const Parameters none(*backend, {}, false);
        const Arena arena(*backend, plan.arena_bytes());
        plan.bind(arena, none);
        const float values[] = {1, -2};
        backend->upload(plan.view(x).data, values, sizeof values);
        plan.forward();
        result.resize(2);
        backend->download(result.data(), plan.view(y).data, sizeof values);
    });
}

}  // namespace

TEST_CASE("a kernel without a CUDA version runs on the CPU, and is refused on CUDA when planned") {
    std::vector<float> result;
    CHECK(run_negation("cpu", true, result) == "accepted");
    CHECK(result == std::vector<float>{-1, 2});
    CHECK(run_negation("cuda", true, result) ==
          "minus 'minus x': the kernel 'negation' has no CUDA version in this library; add its .cu file, or "
          "use "
          "device: cpu");
    CHECK(run_negation("cuda", false, result) ==
          "the kernel 'negation' has no CUDA version in this library; add its .cu file, or use device: cpu");
}

TEST_CASE("two kernels of one name are no mistake that goes unseen") {
    const auto cuda = backend_of("cuda");
    const Kernel another{"average_pool_forward", +[](ConstView) {}};
    CHECK(
        refusal([&] { another(*cuda, ConstView{}); }) ==
        "the kernel 'average_pool_forward': its CUDA version takes other arguments; build both together, or "
        "give one of two kernels another name");
}

namespace {

/// Whatever a test wants to record.
struct Traits {
    bool dense = false, joins = false, loss = false;
    std::size_t saved = 0;
    std::optional<Features> shape = std::nullopt;
};
class Sketch final : public Operation {
  public:
    explicit Sketch(const Traits& traits) : traits_(traits) { saved_bytes = traits.saved; }
    std::string kind() const override { return "sketch"; }
    Features output_shape(const Graph& graph) const override {
        return traits_.shape.value_or(graph.tensors()[inputs[0]].shape);
    }
    bool dense_only() const override { return traits_.dense; }
    bool joins_inputs() const override { return traits_.joins; }
    bool is_loss() const override { return traits_.loss; }
    void forward(const Binding&) override {}
    void backward(const Binding&) override {}

  private:
    Traits traits_;
};

}  // namespace

TEST_CASE("what the graph cannot take from an operation is refused in one line") {
    Graph graph(1);
    const Value x = graph.input("x", 1, 1, 4, 6);
    const Value a = convolution(graph, x, "a", 2, 3, 1), b = convolution(graph, x, "b", 2, 3, 1);
    const Value both = concatenate(graph, {a, b});
    const Value c = convolution(graph, both, "c", 2, 3, 1);
    const std::size_t operations = graph.operations().size();
    const auto refused = [&](const Traits& traits, const std::vector<Value>& inputs) {
        return refusal([&] { graph.record(std::make_unique<Sketch>(traits), inputs, "s"); });
    };
    CHECK(refused({}, {Value{}}) == "sketch 's': input 0 is no value of this graph");
    CHECK(refused({}, {x, Value{99}}) == "sketch 's': input 1 is no value of this graph");
    CHECK(refused({.dense = true}, {a}) ==
          "sketch 's': 'a' is a slice of '[a, b]', which is not dense; give a copy of it");
    CHECK(refused({.joins = true}, {x}) == "sketch 's': 'x' cannot lie in the result; give a copy of it");
    CHECK(refused({.joins = true}, {a}) == "sketch 's': 'a' cannot lie in the result; give a copy of it");
    CHECK(refused({.joins = true}, {both}) ==
          "sketch 's': '[a, b]' cannot lie in the result; give a copy of it");
    CHECK(refused({.joins = true}, {c, c}) ==
          "sketch 's': 'c' cannot lie in the result twice; give a copy of it");
    CHECK(refused({.joins = true, .shape = dense_features(1, 3, 4, 6, 1)}, {c}) ==
          "sketch 's': 2 channels do not make up a dense 1×3×4×6");
    CHECK(refused({.joins = true, .shape = dense_features(1, 2, 4, 5, 1)}, {c}) ==
          "sketch 's': 1×2×4×6 in blocks of 1 is no slice of 1×2×4×5 in blocks of 1");
    CHECK(refused({.shape = dense_features(1, 0, 4, 6, 1)}, {c}).find("the result would be 1×0×4×6") !=
          std::string::npos);
    CHECK(graph.operations().size() == operations);
    CHECK(refused({.loss = true}, {c}) == "accepted");
    CHECK(refused({}, {c}) == "sketch 's': the loss is recorded last; record this before it");
    const auto backend = backend_of("cpu");
    Algorithms algorithms;
    CHECK(refusal([&] { Plan(std::move(graph), *backend, algorithms, true); }) ==
          "plan: sketch saves 0 bytes; a loss saves itself, a double");
}
