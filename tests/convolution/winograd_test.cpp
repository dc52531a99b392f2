// Our Winograd convolution against the definition in double: odd sizes, batches, slices, either block, channels from 8
// to 256, overwriting and adding, every instruction set; the network's layers at their sizes; the same bits for any
// number of threads; what is refused.
#include "kernels/winograd/winograd.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/simd.h"
#include "kernels/threads/threads.h"
#include "tests/convolution/convolution_case.h"
#include "tests/reference/convolution_entries.h"
#include "tests/support/run_on.h"

using namespace convolution_case;
using cpu::Winograd;

namespace {

// ‖found − exact‖₂/‖exact‖₂. Seen are at most 1.1e-6 (d_weight), 7e-7 for y and d_x; sums in plain order leave 3e-7.
constexpr double bound = 2e-6;

struct Layer {
    int n, inputs, outputs, h, w;
    float slope;
    int block_x = 8, block_y = 8;
    bool slice_x = false, slice_y = false;
};

ConvolutionProblem problem_of(const Layer& l) {
    ConvolutionProblem problem;
    problem.x = dense_features(l.n, l.inputs, l.h, l.w, l.block_x);
    problem.y = dense_features(l.n, l.outputs, l.h, l.w, l.block_y);
    if (l.slice_x) problem.x.image_stride = (2 * problem.x.image_size() + 15) / 16 * 16;
    if (l.slice_y) problem.y.image_stride = (2 * problem.y.image_size() + 15) / 16 * 16;
    problem.slope = l.slope;
    return problem;
}

struct Tensors {
    Tensors(const Layer& l, const Winograd& winograd)
        : problem(problem_of(l)),
          shape{l.n, l.inputs, l.outputs, l.h, l.w, 3},
          x(problem.x),
          y(problem.y),
          d_y(problem.y),
          d_x(problem.x),
          weight(FeatureBuffer::vector(9 * l.inputs * l.outputs)),
          bias(FeatureBuffer::vector(l.outputs)),
          d_weight(FeatureBuffer::vector(weight.shape().size())),
          d_bias(FeatureBuffer::vector(l.outputs)),
          forward_workspace(memory(winograd.forward_workspace_bytes())),
          weights_workspace(memory(winograd.weights_workspace_bytes())),
          data_workspace(memory(winograd.data_workspace_bytes())) {
        fill(x, 1), fill(weight, 2, 1 / std::sqrt(9.0 * l.inputs)), fill(bias, 3, 0.1), fill(d_y, 4);
        fill(d_x, 5), fill(d_weight, 6), fill(d_bias, 7);
    }

    static FeatureBuffer memory(std::size_t bytes) {
        return FeatureBuffer::vector(std::int64_t(bytes / sizeof(float)));
    }
    static void fill(FeatureBuffer& buffer, unsigned seed, double scale = 1) {
        buffer.set(random_values(std::size_t(buffer.shape().size()), seed, scale));
    }

    /// d_a replaces d_y.
    void run(const Winograd& winograd, Write write) {
        winograd.forward(x.data(), weight.data(), bias.data(), y.data(), forward_workspace.data());
        winograd.weights(x.data(), y.data(), d_y.data(), d_y.view(), d_weight.data(), d_bias.data(), write,
                         weights_workspace.data());
        winograd.data(d_y.view(), weight.data(), d_x.data(), write, data_workspace.data());
    }

    bool intact() const {
        for (const FeatureBuffer* b : {&x, &y, &d_y, &d_x, &weight, &d_weight, &bias, &d_bias,
                                       &forward_workspace, &weights_workspace, &data_workspace})
            if (!b->intact()) return false;
        return true;
    }

    ConvolutionProblem problem;
    ConvolutionShape shape;
    FeatureBuffer x, y, d_y, d_x, weight, bias, d_weight, d_bias, forward_workspace, weights_workspace,
        data_workspace;
};

Doubles difference(Doubles a, const Doubles& b) {
    for (std::size_t k = 0; k < a.size(); ++k) a[k] -= b[k];
    return a;
}

// The largest of each result so far, to be told.
Errors largest;

void compare(const Layer& l, Write write) {
    const Winograd winograd(problem_of(l));
    Tensors t(l, winograd);
    const Doubles d_y = t.d_y.get(), x = t.x.get(), weight = t.weight.get();
    Doubles d_x = t.d_x.get(), d_weight = t.d_weight.get(), d_bias = t.d_bias.get();
    t.run(winograd, write);
    CHECK(t.intact());
    CHECK(t.x.get() == x);

    const double slope = double(l.slope);
    const Doubles y = t.y.get();
    const auto exact = reference::convolution_backward(t.shape, x, weight, y, d_y, slope);
    if (write == Write::overwrite)
        d_x.assign(d_x.size(), 0), d_weight.assign(d_weight.size(), 0), d_bias.assign(d_bias.size(), 0);
    Errors e;
    e.y = relative_error(y, reference::convolution_forward(t.shape, x, weight, t.bias.get(), slope));
    // What was added: in single precision, to numbers of its own size or smaller.
    e.d_x = relative_error(difference(t.d_x.get(), d_x), exact.d_x);
    e.d_weight = relative_error(difference(t.d_weight.get(), d_weight), exact.d_weight);
    e.d_bias = relative_error(difference(t.d_bias.get(), d_bias), exact.d_bias);
    CHECK(e.y < bound);
    CHECK(e.d_x < bound);
    CHECK(e.d_weight < bound);
    CHECK(e.d_bias < direct);
    Doubles d_a = d_y;
    for (std::size_t k = 0; k < d_a.size(); ++k)
        if (y[k] <= 0) d_a[k] = double(float(d_a[k]) * l.slope);
    CHECK(t.d_y.get() == d_a);
    for (const auto part : {&Errors::y, &Errors::d_x, &Errors::d_weight, &Errors::d_bias})
        largest.*part = std::max(largest.*part, e.*part);
}

std::string describe(const Layer& l) { return problem_of(l).key(); }

const Layer layers[] = {
    {1, 8, 8, 4, 4, 1.0f},                       // one tile, half a panel
    {1, 8, 8, 1, 1, 0.01f},                      // less than one
    {2, 8, 24, 5, 9, 0.2f},                      // a panel and a half
    {3, 24, 8, 7, 6, 0.01f, 8, 8, true, false},  // from a slice
    {2, 16, 16, 1, 19, 0.01f, 8, 8, false, true},
    {2, 16, 32, 19, 1, 0.01f, 16, 16, true, true},
    {1, 16, 48, 13, 11, 2.0f, 16, 16},  // a slope above 1
    {1, 24, 48, 9, 10, 0.01f, 8, 16},   // mixed blocks
    {1, 48, 24, 10, 9, 0.01f, 16, 8},
    {2, 32, 32, 37, 41, 0.01f},  // several groups of tiles, and pieces of the sums
    {1, 32, 32, 8, 300, 0.01f},  // rows longer than what is transformed together
    {1, 64, 40, 35, 33, 0.01f},  // 81 tiles: just more than one piece
    {4, 72, 64, 8, 8, 0.01f},    // sums over more than 64 channels: of two chains
    {1, 128, 144, 9, 12, 1.0f},  // fewer tiles than channels
    {1, 256, 256, 6, 5, 0.01f, 16, 16},
    {1, 256, 16, 17, 18, 0.01f},
};

}  // namespace

TEST_CASE("winograd: value and gradients, overwritten and added, on every instruction set") {
    int sets = 0;
    for (const std::string& instruction_set : cpu::instruction_sets()) {
        const RunOn on(2, instruction_set);
        if (!Winograd::applies(problem_of(layers[0]))) {  // a processor without vectors
            CHECK_THROWS_AS(Winograd(problem_of(layers[0])), Error);
            continue;
        }
        ++sets;
        largest = {};
        for (const Layer& l : layers)
            for (const Write write : {Write::overwrite, Write::accumulate}) {
                CAPTURE(instruction_set);
                CAPTURE(describe(l));
                CAPTURE(int(write));
                compare(l, write);
            }
        MESSAGE(instruction_set << ": y " << largest.y << ", d_x " << largest.d_x << ", d_weight "
                                << largest.d_weight << ", d_bias " << largest.d_bias);
    }
    CHECK(sets > 0);
}

TEST_CASE("winograd: the network's layers, some entries") {
    for (const auto& [n, inputs, outputs, side] : std::vector<std::array<int, 4>>{{1, 32, 32, 256},
                                                                                  {1, 64, 32, 256},
                                                                                  {1, 32, 64, 128},
                                                                                  {1, 64, 64, 128},
                                                                                  {1, 128, 64, 128},
                                                                                  {1, 64, 128, 64},
                                                                                  {1, 128, 128, 64},
                                                                                  {1, 256, 128, 64},
                                                                                  {1, 128, 256, 32},
                                                                                  {1, 256, 256, 32},
                                                                                  {4, 32, 32, 64},
                                                                                  {4, 64, 64, 32},
                                                                                  {4, 128, 128, 16},
                                                                                  {4, 256, 128, 16},
                                                                                  {4, 256, 256, 8}}) {
        const Layer l{n, inputs, outputs, side, side, 0.01f};
        const ConvolutionProblem problem = problem_of(l);
        CAPTURE(describe(l));
        const Winograd winograd(problem);
        Tensors t(l, winograd);
        t.run(winograd, Write::overwrite);
        const Doubles x = t.x.get(), weight = t.weight.get(), bias = t.bias.get(), d_a = t.d_y.get(),
                      y = t.y.get(), d_x = t.d_x.get(), d_weight = t.d_weight.get();
        std::mt19937 draw(8);
        Doubles found[3], exact[3];
        for (int k = 0; k < 300; ++k) {
            const int image = int(draw() % n), o = int(draw() % outputs), c = int(draw() % inputs),
                      i = int(draw() % side), j = int(draw() % side);
            found[0].push_back(reference::pixel(y, t.shape, outputs, image, o, i, j));
            exact[0].push_back(
                reference::convolution_entry(t.shape, x, weight, bias, double(l.slope), image, o, i, j));
            found[1].push_back(reference::pixel(d_x, t.shape, inputs, image, c, i, j));
            exact[1].push_back(reference::d_x_entry(t.shape, weight, d_a, image, c, i, j));
            if (k % 6 != 0) continue;  // a sum over all pixels
            const int u = int(draw() % 3), v = int(draw() % 3);
            found[2].push_back(d_weight[((std::size_t(o) * inputs + c) * 3 + u) * 3 + v]);
            exact[2].push_back(reference::d_weight_entry(t.shape, x, d_a, o, c, u, v));
        }
        double errors[3];
        for (int k = 0; k < 3; ++k) {
            errors[k] = relative_error(found[k], exact[k]);
            CHECK(errors[k] < bound);
        }
        MESSAGE(n << "x" << inputs << " > " << outputs << ", " << side << "x" << side << ": y " << errors[0]
                  << ", d_x " << errors[1] << ", d_weight " << errors[2]);
    }
}

TEST_CASE("winograd: the same bits for any number of threads, and from run to run") {
    for (const Layer& l : {Layer{2, 32, 40, 37, 41, 0.01f}, Layer{1, 128, 144, 9, 12, 0.01f},
                           Layer{4, 72, 64, 8, 8, 0.01f}, Layer{1, 16, 16, 65, 70, 1.0f, 16, 16}}) {
        CAPTURE(describe(l));
        std::vector<Doubles> first;
        for (const int threads : {1, 2, 3, 4, 1}) {
            CAPTURE(threads);
            const RunOn on(threads);
            const Winograd winograd(problem_of(l));
            Tensors t(l, winograd);
            t.run(winograd, Write::accumulate);
            const std::vector<Doubles> results{t.y.get(), t.d_y.get(), t.d_x.get(), t.d_weight.get(),
                                               t.d_bias.get()};
            if (first.empty()) first = results;
            CHECK(results == first);
        }
    }
}

TEST_CASE("winograd: d_a beside d_y, in a layout of its own") {
    for (const float slope : {0.01f, 1.0f}) {
        const Layer l{2, 16, 24, 9, 11, slope, 8, 8, false, true};
        const Winograd winograd(problem_of(l));
        Tensors t(l, winograd);
        FeatureBuffer d_a(dense_features(l.n, l.outputs, l.h, l.w, 8));
        const Doubles d_y = t.d_y.get();
        t.fill(t.y, 9);
        const Doubles y = t.y.get();
        winograd.weights(t.x.data(), t.y.data(), t.d_y.data(), d_a.view(), t.d_weight.data(), t.d_bias.data(),
                         Write::overwrite, t.weights_workspace.data());
        CHECK(t.d_y.get() == d_y);
        Doubles expected = d_y;
        for (std::size_t k = 0; k < y.size(); ++k)
            if (y[k] <= 0) expected[k] = double(float(d_y[k]) * slope);
        CHECK(d_a.get() == expected);
        CHECK(d_a.intact());
        CHECK(t.intact());
    }
}

TEST_CASE("winograd: what it cannot compute is refused") {
    ConvolutionProblem good = problem_of(layers[0]);
    CHECK(Winograd::applies(good));
    ConvolutionProblem bad = good;
    bad.kernel = 1;
    CHECK_FALSE(Winograd::applies(bad));
    CHECK_THROWS_AS(Winograd{bad}, Error);
    bad = good;
    bad.x = dense_features(1, 5, 4, 4, 1);
    CHECK_FALSE(Winograd::applies(bad));
    bad = good;
    bad.y = dense_features(1, 5, 4, 4, 1);
    CHECK_FALSE(Winograd::applies(bad));

    const Winograd winograd(good);
    Tensors t(layers[0], winograd);
    const auto forward = [&] {
        winograd.forward(t.x.data(), t.weight.data(), t.bias.data(), t.y.data(), t.forward_workspace.data());
    };
    CHECK_NOTHROW(forward());
    {
        const RunOn on(thread_count() + 1);
        CHECK_THROWS_AS(forward(), Error);
    }
    const RunOn on(thread_count(), cpu::instruction_sets().back());
    if (cpu::instruction_sets().size() > 1) CHECK_THROWS_AS(forward(), Error);
}

TEST_CASE("winograd: an algorithm among those of make_convolution") {
    const std::string all = "forward=winograd4,weights=winograd4,data=winograd4";
    if (cpu::channel_block(16) == 1) {
        CHECK_THROWS_AS(cpu::make_convolution(convolution_case::problem_of({1, 16, 16, 9, 7, 3, 0.01f}), all),
                        Error);
        return;
    }
    for (const Case& c :
         {Case{3, 16, 48, 9, 7, 3, 0.01f, true, false}, Case{2, 32, 16, 11, 5, 3, 0.2f, true, true}}) {
        const auto convolution = cpu::make_convolution(convolution_case::problem_of(c), all);
        CHECK(convolution->algorithms() == all);
        for (const Write write : {Write::overwrite, Write::accumulate})
            CHECK(run(c, *convolution, write).largest() < bound);
    }
    const auto refused = [&](const Case& c, const std::string& algorithms) {
        CHECK_THROWS_AS(cpu::make_convolution(convolution_case::problem_of(c), algorithms), Error);
    };
    refused({1, 5, 16, 9, 7, 3, 0.01f}, all);
    refused({1, 16, 16, 9, 7, 1, 0.01f}, all);
    refused({2, 16, 16, 9, 7, 3, 0.01f}, "forward=winograd4+images,weights=winograd4,data=winograd4");
}
