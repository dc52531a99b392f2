// A problem of the CUDA convolution with all that it reads and writes, run and compared with its definition.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "kernels/convolution/convolution.h"
#include "kernels/convolution/convolution_passes.h"
#include "tests/convolution/convolution_case.h"
#include "tests/support/device_buffer.h"

namespace cuda_convolution_case {

using namespace tvmap;
using convolution_case::random_values;
using cuda::Precision;
using reference::ConvolutionShape;
using reference::Doubles;

struct Case {
    int n, inputs, outputs, h, w, kernel;
    float slope;
    int slack_x = 0, slack_y = 0;  // channels between the images: slices of wider tensors
    int first_x = 0, first_y = 0;  // channels in front of them
    int parameter_offset = 0;      // floats that the parameters lie behind an aligned address
};

inline ConvolutionProblem problem_of(const Case& c) {
    ConvolutionProblem problem;
    const auto strided = [&](int channels, int slack) {
        Features f = dense_features(c.n, channels, c.h, c.w, 1);
        f.image_stride += std::int64_t(slack) * c.h * c.w;
        return f;
    };
    problem.x = strided(c.inputs, c.slack_x);
    problem.y = strided(c.outputs, c.slack_y);
    problem.kernel = c.kernel;
    problem.slope = c.slope;
    return problem;
}

inline std::unique_ptr<Convolution> make(const ConvolutionProblem& problem, Precision precision,
                                         const std::string& algorithms = "") {
    return cuda::make_convolution(test_stream(), precision, problem, algorithms);
}

// Scratch memory as it is promised: aligned to 64 bytes and no more, garbage at first.
class Workspace {
  public:
    explicit Workspace(std::size_t bytes) : memory_(std::int64_t(64 + bytes)) {}
    void* data() const { return memory_.data() + 64; }
    bool intact() const { return memory_.intact(); }

  private:
    DeviceBuffer<unsigned char> memory_;
};

/// Everything that one problem reads and writes. Inputs are filled, outputs hold sentinels.
struct Buffers {
    Buffers(const Case& c, const Convolution& convolution)
        : shape{c.n, c.inputs, c.outputs, c.h, c.w, c.kernel},
          x(c.n, c.inputs, c.h, c.w, c.slack_x, c.first_x * c.h * c.w),
          y(c.n, c.outputs, c.h, c.w, c.slack_y, c.first_y * c.h * c.w),
          d_y(c.n, c.outputs, c.h, c.w, c.slack_y, c.first_y * c.h * c.w),
          d_x(c.n, c.inputs, c.h, c.w, c.slack_x, c.first_x * c.h * c.w),
          weight(1, 1, 1, c.inputs * c.outputs * c.kernel * c.kernel, 0, c.parameter_offset),
          bias(1, 1, 1, c.outputs, 0, c.parameter_offset),
          d_weight(1, 1, 1, c.inputs * c.outputs * c.kernel * c.kernel, 0, c.parameter_offset),
          d_bias(1, 1, 1, c.outputs, 0, c.parameter_offset),
          forward_workspace(convolution.forward_workspace_bytes()),
          backward_workspace(convolution.backward_workspace_bytes()) {
        fill(x, 1);
        fill(weight, 2, 1.0 / std::sqrt(c.inputs * c.kernel * c.kernel));
        fill(bias, 3);
        fill(d_y, 4);
    }

    static void fill(DeviceFeatures& buffer, unsigned seed, double scale = 1.0) {
        buffer.set(random_values(std::size_t(buffer.shape().size()), seed, scale));
    }

    void forward(Convolution& convolution) {
        convolution.forward(x.data(), weight.data(), bias.data(), y.data(), forward_workspace.data());
    }
    void backward(Convolution& convolution, Write write) { backward(convolution, write, d_x.data()); }
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
        const auto all = {&x, &y, &d_y, &d_x, &weight, &d_weight, &bias, &d_bias};
        return std::all_of(all.begin(), all.end(), [](const DeviceFeatures* b) { return b->intact(); }) &&
               forward_workspace.intact() && backward_workspace.intact();
    }

    ConvolutionShape shape;
    DeviceFeatures x, y, d_y, d_x, weight, bias, d_weight, d_bias;
    Workspace forward_workspace, backward_workspace;
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
    errors.y = relative_difference(y, reference::convolution_forward(b.shape, x, weight, bias, c.slope));

    b.backward(convolution, write);
    reference::ConvolutionGradients expected =
        reference::convolution_backward(b.shape, x, weight, y, d_y, c.slope);
    if (write == Write::accumulate) {
        const auto add = [](Doubles& to, const Doubles& from) {
            for (std::size_t k = 0; k < to.size(); ++k) to[k] += from[k];
        };
        add(expected.d_x, old_d_x), add(expected.d_weight, old_d_weight), add(expected.d_bias, old_d_bias);
    }
    errors.d_x = relative_difference(b.d_x.get(), expected.d_x);
    errors.d_weight = relative_difference(b.d_weight.get(), expected.d_weight);
    errors.d_bias = relative_difference(b.d_bias.get(), expected.d_bias);

    CHECK(b.intact());
    CHECK(b.x.get() == x);
    CHECK(b.y.get() == y);
    CHECK(b.weight.get() == weight);
    CHECK(b.bias.get() == bias);
    return errors;
}

// fp32 rounds at 6e-8; sums of some hundred terms stay below 1e-6, Winograd's transforms cost a digit. tf32
// and bf16 round each factor, bf16 the result too, by 2^-11 and 2^-8 at most; relative to a whole tensor that
// is the size of the error, and up to twice as much where a sum's terms cancel (1.3 times seen).
constexpr double single = 1e-6, winograd = 5e-6;
inline double tolerance(Precision precision) {
    return precision == Precision::fp32 ? winograd : precision == Precision::tf32 ? 0x1p-10 : 0x1p-7;
}

/// y, d_x, d_weight, d_bias one after the other.
inline Doubles results_of(Buffers& b) {
    Doubles all;
    for (const DeviceFeatures* part : {&b.y, &b.d_x, &b.d_weight, &b.d_bias}) {
        const Doubles values = part->get();
        all.insert(all.end(), values.begin(), values.end());
    }
    return all;
}

inline Doubles results_of(const Case& c, Convolution& convolution) {
    Buffers b(c, convolution);
    b.forward(convolution);
    b.backward(convolution, Write::overwrite);
    return results_of(b);
}

}  // namespace cuda_convolution_case
