// The CUDA convolution against its definition: every precision, slices, batches, odd sizes; overwriting and
// adding; parameters that are not aligned; recorded and replayed; what the library does not offer and what is
// refused; the search for the libraries.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "kernels/base/error.h"
#include "kernels/convolution/convolution.h"
#include "kernels/convolution/convolution_passes.h"
#include "kernels/convolution/untimed_algorithms.h"
#include "kernels/cuda/library_search.h"
#include "tests/kernels/convolution_case.h"
#include "tests/support/device_buffer.h"
#ifdef TVMAP_EMULATED
#include "kernels/emulation/convolution_stand_in.h"
#endif

using namespace tvmap;
using convolution_case::random_values;
using cuda::Precision;
using reference::ConvolutionShape;
using reference::Doubles;

namespace {

struct Case {
    int n, inputs, outputs, h, w, kernel;
    float slope;
    int slack_x = 0, slack_y = 0;  // channels between the images: slices of wider tensors
    int first_x = 0, first_y = 0;  // channels in front of them
    int parameter_offset = 0;      // floats that the parameters lie behind an aligned address
};

const Case cases[] = {
    {1, 1, 32, 13, 17, 3, 0.01f},            // the first layer
    {2, 16, 16, 12, 20, 3, 0.01f, 0, 16},    // result into a slice
    {3, 8, 16, 9, 7, 3, 0.01f, 8, 0, 3},     // odd sizes, from a slice
    {2, 16, 8, 11, 6, 3, 0.2f, 1, 5, 1, 2},  // both
    {2, 5, 7, 6, 9, 3, 0.01f, 0, 7, 0, 1},   // odd channels
    {2, 24, 8, 8, 6, 3, 0.01f, 0, 0, 0, 0, 1},
    {2, 8, 8, 6, 6, 3, 1.0f},
    {1, 8, 8, 1, 19, 3, 0.01f},  // one row, one column, one pixel
    {1, 8, 8, 19, 1, 3, 0.01f},
    {2, 8, 8, 1, 1, 3, 0.01f},
    {2, 24, 16, 10, 6, 1, 1.0f},  // 1×1, no activation
    {2, 16, 24, 5, 9, 1, 0.01f, 0, 24},
    {2, 32, 2, 13, 9, 1, 1.0f},                 // the last layer
    {1, 48, 1, 31, 37, 1, 0.01f},               // more pixels than one piece of a sum
    {2, 5, 2, 40, 60, 1, 0.1f, 5, 2, 1, 1},     // as many pieces as images
    {4, 3, 2, 40, 30, 1, 1.0f, 0, 1, 0, 0, 1},  // fewer
    {1, 40, 3, 3, 3, 1, 1.0f},
};

ConvolutionProblem problem_of(const Case& c) {
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

std::unique_ptr<Convolution> make(const ConvolutionProblem& problem, Precision precision,
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
    void backward(Convolution& convolution, Write write) {
        convolution.backward(x.data(), weight.data(), y.data(), d_y.data(), d_x.data(), write,
                             d_weight.data(), d_bias.data(), write, backward_workspace.data());
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
Errors run(const Case& c, Convolution& convolution, Write write) {
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
double tolerance(Precision precision) {
    return precision == Precision::fp32 ? winograd : precision == Precision::tf32 ? 0x1p-10 : 0x1p-7;
}

/// y, d_x, d_weight, d_bias one after the other.
Doubles results_of(Buffers& b) {
    Doubles all;
    for (const DeviceFeatures* part : {&b.y, &b.d_x, &b.d_weight, &b.d_bias}) {
        const Doubles values = part->get();
        all.insert(all.end(), values.begin(), values.end());
    }
    return all;
}

Doubles results_of(const Case& c, Convolution& convolution) {
    Buffers b(c, convolution);
    b.forward(convolution);
    b.backward(convolution, Write::overwrite);
    return results_of(b);
}

}  // namespace

TEST_CASE("CUDA convolution: value and gradients, overwritten and added") {
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
        const std::string name = cuda::precision_name(precision);
        CAPTURE(name);
        double largest = 0;
        for (const Case& c : cases) {
            CAPTURE(problem_of(c).key());
            const auto convolution = make(problem_of(c), precision);
            CAPTURE(convolution->algorithms());
            for (const Write write : {Write::overwrite, Write::accumulate}) {
                const Errors errors = run(c, *convolution, write);
                CHECK(errors.y < tolerance(precision));
                CHECK(errors.d_x < tolerance(precision));
                CHECK(errors.d_weight < tolerance(precision));
                CHECK(errors.d_bias < single);
                largest = std::max(largest, errors.largest());
            }
        }
        MESSAGE(name << ": largest error " << largest);
    }
}

TEST_CASE("CUDA convolution: fp32 means fp32, and the others what they say") {
    // Sizes at which a library that wants to use its tensor cores does so.
    for (const int kernel : {1, 3}) {
        CAPTURE(kernel);
        const Case c{1, 64, 64, 16, 16, kernel, 1.0f};
        const auto error = [&](Precision precision) {
            return run(c, *make(problem_of(c), precision), Write::overwrite).y;
        };
        CHECK(error(Precision::fp32) < winograd);
        const double tf32 = error(Precision::tf32), bf16 = error(Precision::bf16);
        CHECK(tf32 < tolerance(Precision::tf32));
        CHECK(bf16 < tolerance(Precision::bf16));
        if (kernel == 3) CHECK(bf16 > 0x1p-10);  // operands are narrowed by kernels of ours
#ifdef TVMAP_EMULATED
        CHECK(tf32 > 0x1p-13);  // a library may find floats as they are faster
#endif
    }
}

TEST_CASE("CUDA convolution: the same algorithms give the same bits") {
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
        for (const Case& c : {Case{2, 16, 24, 12, 10, 3, 0.01f}, Case{2, 32, 2, 40, 40, 1, 1.0f}}) {
            CAPTURE(problem_of(c).key());
            const auto first = make(problem_of(c), precision);
            const auto second = make(problem_of(c), precision, first->algorithms());
            CHECK(second->algorithms() == first->algorithms());
            CHECK(second->forward_workspace_bytes() == first->forward_workspace_bytes());
            CHECK(second->backward_workspace_bytes() == first->backward_workspace_bytes());
            const Doubles results = results_of(c, *first);
            for (Convolution* again : {second.get(), first.get()})
                CHECK(compared_bits(results_of(c, *again), results));
        }
}

TEST_CASE("CUDA convolution: recorded and replayed") {
    for (const Precision precision : {Precision::fp32, Precision::bf16})
        for (const Case& c :
             {Case{2, 16, 24, 10, 7, 3, 0.01f, 0, 0, 0, 0, 1}, Case{1, 8, 2, 40, 40, 1, 1.0f}}) {
            CAPTURE(problem_of(c).key());
            const auto convolution = make(problem_of(c), precision);
            const Doubles expected = results_of(c, *convolution);
            Buffers b(c, *convolution);
            gpu::synchronise(test_stream());
            const auto graph = gpu::record(test_stream(), [&] {
                b.forward(*convolution);
                b.backward(*convolution, Write::overwrite);
            });
            CHECK(b.y.intact());
            for (int replay = 0; replay < 2; ++replay) {
                b.fill(b.d_y, 4);  // backward destroyed it
                graph->launch(test_stream());
                CHECK(compared_bits(results_of(b), expected));
            }
        }
}

TEST_CASE("CUDA convolution: inference alone, and without d_x") {
    for (const int kernel : {1, 3}) {
        const Case c{1, 16, 16, 10, 12, kernel, 0.01f};
        ConvolutionProblem problem = problem_of(c);
        problem.training = false;
        const auto inference = make(problem, Precision::fp32);
        CHECK(inference->backward_workspace_bytes() == 0);
        CHECK(inference->algorithms().find("weights") == std::string::npos);

        problem.training = true;
        problem.needs_d_x = false;
        const auto first_layer = make(problem, Precision::fp32);
        CHECK(first_layer->algorithms().find("data") == std::string::npos);
        Buffers b(c, *first_layer);
        b.forward(*first_layer);
        const Doubles y = b.y.get(), d_y = b.d_y.get();
        const auto backward = [&](float* d_x) {
            first_layer->backward(b.x.data(), b.weight.data(), b.y.data(), b.d_y.data(), d_x,
                                  Write::overwrite, b.d_weight.data(), b.d_bias.data(), Write::overwrite,
                                  b.backward_workspace.data());
        };
        backward(nullptr);
        const auto expected =
            reference::convolution_backward(b.shape, b.x.get(), b.weight.get(), y, d_y, c.slope);
        CHECK(relative_difference(b.d_weight.get(), expected.d_weight) < winograd);
        CHECK(relative_difference(b.d_bias.get(), expected.d_bias) < single);
        CHECK(b.intact());
        CHECK_THROWS_AS(backward(b.d_x.data()), Error);
    }
}

TEST_CASE("CUDA convolution: what cannot work is refused") {
    const ConvolutionProblem good = problem_of({1, 16, 16, 6, 6, 3, 0.01f});
    const auto refused = [](const ConvolutionProblem& problem, const std::string& algorithms = "") {
        CHECK_THROWS_AS(make(problem, Precision::fp32, algorithms), Error);
    };
    refused(good, "nonsense");
    refused(good, "matrix_product");
    refused(good, "forward=e5k,weights=e0,data=e0");
    const std::string chosen = make(good, Precision::fp32)->algorithms();
    refused(good, chosen + ",more=e0");
    refused(good, chosen.substr(0, chosen.find(',')));
    refused(problem_of({1, 16, 16, 6, 6, 1, 0.01f}), chosen);
    ConvolutionProblem bad = good;
    bad.kernel = 5;
    refused(bad);
    bad = good;
    bad.slope = 0;
    refused(bad);
    bad = good;
    bad.x.block = 8;
    refused(bad);

    // 36 pixels: whole channels are aligned to 16 bytes.
    const Case c{1, 16, 16, 6, 6, 3, 0.01f};
    const auto convolution = make(good, Precision::fp32);
    Buffers b(c, *convolution);
    CHECK_THROWS_AS(convolution->forward(b.x.data() + 1, b.weight.data(), b.bias.data(), b.y.data(),
                                         b.forward_workspace.data()),
                    Error);
    ConvolutionProblem never_adds = good;
    never_adds.accumulates_d_x = false;
    const auto overwrites = make(never_adds, Precision::fp32);
    CHECK(overwrites->algorithms().find("data_add") == std::string::npos);
    CHECK_THROWS_AS(b.backward(*overwrites, Write::accumulate), Error);
}

TEST_CASE("CUDA convolution: names of precisions") {
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
        CHECK(cuda::parse_precision(cuda::precision_name(precision)) == precision);
    CHECK_THROWS_AS(cuda::parse_precision("fp16"), Error);
}

TEST_CASE("libraries: versions, and where they are searched for") {
    CHECK(cuda::vendor_libraries_missing() == "");
    CHECK(cuda::vendor_library_versions().find("cuDNN") != std::string::npos);

    const char* before = std::getenv("TVMAP_CUDA_LIBRARIES");
    const std::string kept = before ? before : "";
    setenv("TVMAP_CUDA_LIBRARIES", "/no/such/folder:/usr", 1);
    const std::vector<std::string> folders = library_folders();
    REQUIRE(!folders.empty());
    CHECK(folders.front() == "/usr");  // the first that exists
    CHECK(std::count(folders.begin(), folders.end(), "") == 1);
    std::string obstacle;
    CHECK(open_library({"libno_such_library.so.9", "libnor_this.so"}, false, &obstacle) == nullptr);
    for (const char* part : {"libno_such_library.so.9 or libnor_this.so", "/usr", "TVMAP_CUDA_LIBRARIES"})
        CHECK(obstacle.find(part) != std::string::npos);
    CHECK(obstacle.find('\n') == std::string::npos);
    setenv("TVMAP_CUDA_LIBRARIES", kept.c_str(), 1);

    void* const mathematics = open_library({"libm.so.6"}, false, &obstacle);
    REQUIRE(mathematics != nullptr);
    CHECK(library_function(mathematics, "cos") != nullptr);
    CHECK_THROWS_AS(library_function(mathematics, "no_such_function"), Error);
}

#ifdef TVMAP_EMULATED
namespace {
// The stand-in offers less, or more, for a while.
class Support {
  public:
    explicit Support(const emulation::ConvolutionSupport& support) {
        emulation::set_convolution_support(support);
    }
    ~Support() { emulation::set_convolution_support({}); }
};
}  // namespace

TEST_CASE("CUDA convolution: whatever the library offers") {
    // Sizes that no other test uses: choices are remembered.
    const Case c{2, 8, 16, 7, 10, 3, 0.01f, 3, 5};
    for (const Precision precision : {Precision::fp32, Precision::bf16})
        for (const bool fuses : {true, false})
            for (const bool adds : {true, false}) {
                CAPTURE(fuses);
                CAPTURE(adds);
                const Support support({.fuses = fuses, .adds = adds});
                const std::string add = precision == Precision::bf16 ? ""
                                        : adds                       ? ",data_add=loops"
                                                                     : ",data_add=none";
                const std::string algorithms = std::string("forward=loops") + (fuses ? "+fused" : "") +
                                               ",weights=loops,data=loops" + add;
                const auto convolution = make(problem_of(c), precision, algorithms);
                CHECK(convolution->algorithms() == algorithms);
                for (const Write write : {Write::overwrite, Write::accumulate})
                    CHECK(run(c, *convolution, write).largest() < tolerance(precision));
                if (!fuses)
                    CHECK_THROWS_AS(
                        make(problem_of(c), precision, "forward=loops+fused,weights=loops,data=loops"),
                        Error);
            }
}

TEST_CASE("CUDA convolution: the fastest of several ways, and the library's refusal") {
    const Case c{1, 16, 16, 9, 14, 3, 0.01f};
    {
        const Support support({.several = true});
        for (const char* forward : {"loops", "reversed", "loops+fused", "reversed+fused"}) {
            const std::string algorithms =
                std::string("forward=") + forward + ",weights=reversed,data=loops,data_add=reversed";
            const auto convolution = make(problem_of(c), Precision::fp32, algorithms);
            CHECK(convolution->algorithms() == algorithms);
            CHECK(run(c, *convolution, Write::accumulate).largest() < single);
        }
        const auto measured = make(problem_of(c), Precision::fp32);
        CHECK(run(c, *measured, Write::overwrite).largest() < single);
        const auto least = make(problem_of(c), Precision::fp32, least_memory),
                   most = make(problem_of(c), Precision::fp32, most_memory);
        CHECK(least->backward_workspace_bytes() <= measured->backward_workspace_bytes());
        CHECK(measured->backward_workspace_bytes() <= most->backward_workspace_bytes());
        // Measured once, then remembered.
        for (int k = 0; k < 3; ++k)
            CHECK(make(problem_of(c), Precision::fp32)->algorithms() == measured->algorithms());
    }
    const Support support({.plans = false});
    try {
        make(problem_of({1, 16, 16, 9, 15, 3, 0.01f}), Precision::tf32);
        FAIL("a convolution out of nothing");
    } catch (const Error& error) {
        for (const char* part : {"forward 3x3 tf32", "16>16 9x15", "planar", "stand-in"})
            CHECK(std::string(error.what()).find(part) != std::string::npos);
    }
}
#endif
