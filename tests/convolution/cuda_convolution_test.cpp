// The CUDA convolution against its definition: every precision, slices, batches, odd sizes; overwriting and
// adding; parameters that are not aligned; recorded and replayed; what is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "kernels/base/error.h"
#include "tests/convolution/cuda_convolution_case.h"

using namespace tvmap;
using namespace cuda_convolution_case;

namespace {

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
        b.backward(*first_layer, Write::overwrite, nullptr);
        const auto expected =
            reference::convolution_backward(b.shape, b.x.get(), b.weight.get(), y, d_y, c.slope);
        CHECK(relative_difference(b.d_weight.get(), expected.d_weight) < winograd);
        CHECK(relative_difference(b.d_bias.get(), expected.d_bias) < single);
        CHECK(b.intact());
        CHECK_THROWS_AS(b.backward(*first_layer, Write::overwrite), Error);
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
