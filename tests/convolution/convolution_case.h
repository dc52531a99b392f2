// What the tests of the convolution share: the shapes, the buffers of one problem between sentinels, and a
// comparison with the definition.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/convolution/convolution.h"
#include "tests/reference/convolution.h"
#include "tests/support/feature_buffer.h"

namespace convolution_case {

using namespace tvmap;
using reference::ConvolutionShape;
using reference::Doubles;

inline Doubles random_values(std::size_t count, unsigned seed, double scale = 1.0) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    Doubles values(count);
    for (double& value : values) value = double(uniform(generator) * float(scale));
    return values;
}

inline double relative_error(const Doubles& a, const Doubles& b) {
    double difference = 0, norm = 0;
    for (std::size_t k = 0; k < a.size(); ++k) {
        difference += (a[k] - b[k]) * (a[k] - b[k]);
        norm += b[k] * b[k];
    }
    return std::sqrt(difference / norm);
}

struct Case {
    int n, inputs, outputs, h, w, kernel;
    float slope;
    bool slice_x = false, slice_y = false;
    bool planar_y = false;            // whatever the number of channels
    Element element = Element::fp32;  // of tensors in blocks
    int block = 0;                    // of channels; 0: this machine's
    bool needs_d_x = true;
};

inline ConvolutionProblem problem_of(const Case& c) {
    ConvolutionProblem problem;
    const auto block = [&](int channels) { return c.block ? c.block : cpu::channel_block(channels); };
    problem.x = dense_features(c.n, c.inputs, c.h, c.w, block(c.inputs));
    problem.y = dense_features(c.n, c.outputs, c.h, c.w, c.planar_y ? 1 : block(c.outputs));
    for (Features* f : {&problem.x, &problem.y})
        if (f->block > 1) f->element = c.element;
    // A slice's stride is that of a wider tensor, a multiple of 16 floats as its data is aligned.
    if (c.slice_x) problem.x.image_stride = (2 * problem.x.image_size() + 15) / 16 * 16;
    if (c.slice_y) problem.y.image_stride = (2 * problem.y.image_size() + 15) / 16 * 16;
    problem.kernel = c.kernel;
    problem.slope = c.slope;
    problem.needs_d_x = c.needs_d_x;
    return problem;
}

/// Everything that one problem reads and writes. Inputs are filled, outputs hold sentinels.
struct Buffers {
    Buffers(const Case& c, const Convolution& convolution)
        : problem(problem_of(c)),
          shape{c.n, c.inputs, c.outputs, c.h, c.w, c.kernel},
          x(problem.x),
          y(problem.y),
          d_y(problem.y),
          d_x(problem.x),
          weight(FeatureBuffer::vector(c.inputs * c.outputs * c.kernel * c.kernel)),
          bias(FeatureBuffer::vector(c.outputs)),
          d_weight(FeatureBuffer::vector(weight.shape().size())),
          d_bias(FeatureBuffer::vector(c.outputs)),
          forward_workspace(FeatureBuffer::vector(convolution.forward_workspace_bytes() / sizeof(float))),
          backward_workspace(FeatureBuffer::vector(convolution.backward_workspace_bytes() / sizeof(float))) {
        fill(x, 1);
        fill(weight, 2, 1.0 / std::sqrt(c.inputs * c.kernel * c.kernel));
        fill(bias, 3);
        fill(d_y, 4);
    }

    static void fill(FeatureBuffer& buffer, unsigned seed, double scale = 1.0) {
        buffer.set(random_values(std::size_t(buffer.shape().size()), seed, scale));
    }

    void forward(Convolution& convolution) {
        convolution.forward(x.data(), weight.data(), bias.data(), y.data(), forward_workspace.data());
    }
    void backward(Convolution& convolution, Write write) {
        backward(convolution, write, problem.needs_d_x ? d_x.data() : nullptr);
    }
    void backward(Convolution& convolution, Write write, float* to_d_x) {
        convolution.backward({.x = x.data(),
                              .weight = weight.data(),
                              .y = y.data(),
                              .d_y = d_y.data(),
                              .d_x = to_d_x,
                              .d_x_write = write,
                              .d_weight = d_weight.data(),
                              .d_bias = d_bias.data(),
                              .parameter_write = write},
                             backward_workspace.data());
    }

    /// Nothing but the values was written.
    bool intact() const {
        const auto all = {
            &x, &y, &d_y, &d_x, &weight, &d_weight, &bias, &d_bias, &forward_workspace, &backward_workspace};
        return std::all_of(all.begin(), all.end(), [](const FeatureBuffer* b) { return b->intact(); });
    }

    ConvolutionProblem problem;
    ConvolutionShape shape;
    FeatureBuffer x, y, d_y, d_x, weight, bias, d_weight, d_bias, forward_workspace, backward_workspace;
};

struct Errors {
    double y = 0, d_x = 0, d_weight = 0, d_bias = 0;
    double largest() const { return std::max({y, d_x, d_weight, d_bias}); }
};

/// Runs the convolution forward and backward, checks what must hold exactly, and returns its errors.
inline Errors run(const Case& c, Convolution& convolution, Write write) {
    Buffers b(c, convolution);
    const Doubles x = b.x.get(), weight = b.weight.get(), bias = b.bias.get(), d_y = b.d_y.get();
    if (write == Write::accumulate) b.fill(b.d_x, 5), b.fill(b.d_weight, 6), b.fill(b.d_bias, 7);
    const Doubles old_d_x = b.d_x.get(), old_d_weight = b.d_weight.get(), old_d_bias = b.d_bias.get();

    Errors errors;
    b.forward(convolution);
    const Doubles y = b.y.get();
    errors.y = relative_error(y, reference::convolution_forward(b.shape, x, weight, bias, c.slope));

    b.backward(convolution, write);
    reference::ConvolutionGradients expected =
        reference::convolution_backward(b.shape, x, weight, y, d_y, c.slope);
    if (write == Write::accumulate) {
        const auto add = [](Doubles& to, const Doubles& from) {
            for (std::size_t k = 0; k < to.size(); ++k) to[k] += from[k];
        };
        add(expected.d_x, old_d_x), add(expected.d_weight, old_d_weight), add(expected.d_bias, old_d_bias);
    }
    if (c.needs_d_x) errors.d_x = relative_error(b.d_x.get(), expected.d_x);
    errors.d_weight = relative_error(b.d_weight.get(), expected.d_weight);
    errors.d_bias = relative_error(b.d_bias.get(), expected.d_bias);

    CHECK(b.intact());
    CHECK(b.x.get() == x);
    CHECK(b.y.get() == y);
    CHECK(b.weight.get() == weight);
    CHECK(b.bias.get() == bias);
    return errors;
}

// Single precision rounds at 6e-8; sums of some hundred terms stay below 1e-6 (5e-7 seen). Winograd's
// transforms cost a digit (9e-7 seen at these sizes), more where channels abound.
constexpr double direct = 1e-6, winograd = 5e-6;
inline double tolerance(const std::string& algorithms) {
    return algorithms.find("wino") == std::string::npos ? direct : winograd;
}

inline const Case cases[] = {
    {1, 1, 32, 13, 17, 3, 0.01f},                // the first layer
    {2, 32, 32, 12, 20, 3, 0.01f, false, true},  // result into a slice
    {3, 16, 48, 9, 7, 3, 0.01f, true, false},    // odd sizes, from a slice
    {2, 32, 16, 11, 5, 3, 0.2f, true, true},     // both
    {2, 64, 32, 10, 6, 1, 1.0f},                 // 1×1, no activation
    {2, 32, 64, 5, 9, 1, 0.01f, false, true},
    {2, 32, 2, 13, 9, 1, 1.0f},    // the last layer
    {1, 48, 1, 31, 37, 1, 0.01f},  // more pixels than one piece of a sum
    {3, 24, 3, 7, 5, 1, 0.1f, true, true},
    {1, 16, 4, 3, 3, 1, 1.0f},
    {1, 1, 5, 11, 8, 3, 0.01f},  // planar throughout
    {2, 5, 7, 6, 9, 3, 0.01f, false, true},
    {2, 5, 2, 7, 5, 1, 1.0f},
    {2, 24, 24, 6, 8, 3, 0.01f},  // blocks of 8
    {1, 24, 48, 8, 6, 3, 0.01f},  // blocks of 8 into blocks of 16
    {2, 48, 24, 6, 5, 1, 1.0f, false, true},
    {2, 32, 3, 8, 8, 3, 0.01f, false, false},  // blocked into planar, 3×3
    {1, 16, 16, 7, 9, 3, 0.01f, false, false, true},
    {1, 16, 16, 1, 19, 3, 0.01f},  // one row, one column, one pixel
    {1, 16, 16, 19, 1, 3, 0.01f},
    {2, 16, 16, 1, 1, 3, 0.01f},
};

/// y, d_x, d_weight, d_bias one after the other.
inline Doubles results_of(const Case& c, Convolution& convolution) {
    Buffers b(c, convolution);
    b.forward(convolution);
    b.backward(convolution, Write::overwrite);
    Doubles all;
    for (const FeatureBuffer* part : {&b.y, &b.d_x, &b.d_weight, &b.d_bias}) {
        const Doubles values = part->get();
        all.insert(all.end(), values.begin(), values.end());
    }
    return all;
}

inline std::string describe(const Case& c) { return problem_of(c).key(); }

}  // namespace convolution_case
