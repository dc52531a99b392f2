// The convolution against its definition: every layout, slices, batches, odd sizes; overwriting and adding;
// memory outside the outputs; what is refused.
#include "kernels/convolution/convolution.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "tests/convolution/convolution_case.h"
#include "tests/support/run_on.h"

using namespace convolution_case;

TEST_CASE("reference: its gradients are the finite differences of its forward") {
    const ConvolutionShape shape{2, 2, 3, 3, 4, 3};
    const double slope = 0.2, step = 1e-6;
    Doubles x = random_values(48, 11), weight = random_values(54, 12), bias = random_values(3, 13);
    const Doubles g = random_values(72, 14);
    const Doubles y = reference::convolution_forward(shape, x, weight, bias, slope);
    // A step moves a result by at most `step`: with the kink further away, no result crosses it.
    for (const double value : y) REQUIRE(std::abs(value) > 1e-5);
    const reference::ConvolutionGradients gradients =
        reference::convolution_backward(shape, x, weight, y, g, slope);
    const auto check = [&](Doubles& values, const Doubles& gradient) {
        for (std::size_t k = 0; k < values.size(); ++k) {
            const double kept = values[k];
            double difference = 0;
            for (const double sign : {1.0, -1.0}) {
                values[k] = kept + sign * step;
                const Doubles moved = reference::convolution_forward(shape, x, weight, bias, slope);
                for (std::size_t o = 0; o < moved.size(); ++o) difference += sign * g[o] * moved[o];
            }
            values[k] = kept;
            // Exact but for rounding (the function is linear between kinks): 1e-16·72 terms / 2e-6.
            CHECK(difference / (2 * step) == doctest::Approx(gradient[k]).epsilon(1e-7).scale(1.0));
        }
    };
    check(x, gradients.d_x);
    check(weight, gradients.d_weight);
    check(bias, gradients.d_bias);
}

TEST_CASE("convolution: value and gradients, overwritten and added") {
    for (const Case& c : cases) {
        CAPTURE(describe(c));
        const auto convolution = cpu::make_convolution(problem_of(c), "");
        CAPTURE(convolution->algorithms());
        for (const Write write : {Write::overwrite, Write::accumulate}) {
            const Errors errors = run(c, *convolution, write);
            const double bound = tolerance(convolution->algorithms());
            CHECK(errors.y < bound);
            CHECK(errors.d_x < bound);
            CHECK(errors.d_weight < bound);
            CHECK(errors.d_bias < direct);
        }
    }
}

TEST_CASE("convolution: inference alone, and without d_x") {
    const Case c{1, 16, 16, 10, 12, 3, 0.01f};
    ConvolutionProblem problem = problem_of(c);
    problem.training = false;
    const auto inference = cpu::make_convolution(problem, "");
    CHECK(inference->backward_workspace_bytes() == 0);
    CHECK(inference->algorithms().find("weights") == std::string::npos);

    problem.training = true;
    problem.needs_d_x = false;
    const auto first_layer = cpu::make_convolution(problem, "");
    CHECK(first_layer->algorithms().find("data") == std::string::npos);
    Buffers b(c, *first_layer);
    b.forward(*first_layer);
    const Doubles y = b.y.get(), d_y = b.d_y.get();
    b.backward(*first_layer, Write::overwrite, nullptr);
    const auto expected =
        reference::convolution_backward(b.shape, b.x.get(), b.weight.get(), y, d_y, c.slope);
    CHECK(relative_error(b.d_weight.get(), expected.d_weight) < winograd);
    CHECK(relative_error(b.d_bias.get(), expected.d_bias) < direct);
    CHECK(b.intact());
    CHECK_THROWS_AS(b.backward(*first_layer, Write::overwrite), Error);
}

TEST_CASE("convolution: what cannot work is refused") {
    const ConvolutionProblem good = problem_of({1, 16, 16, 6, 6, 3, 0.01f});
    const auto refused = [](const ConvolutionProblem& problem, const std::string& algorithms = "") {
        CHECK_THROWS_AS(cpu::make_convolution(problem, algorithms), Error);
    };
    refused(good, "nonsense");
    refused(good, "pointwise");
    refused(good, "forward=jit:avx999,weights=ref:any,data=ref:any");
    refused(good, "forward=ref:any+more,weights=ref:any,data=ref:any");
    refused(good, "forward=ref:any");
    ConvolutionProblem bad = good;
    bad.kernel = 5;
    refused(bad);
    bad = good;
    bad.y.h = 7;
    refused(bad);
    bad = good;
    bad.slope = 0;
    refused(bad);
    // A batch in slices cannot be one primitive's tensor.
    refused(problem_of({2, 16, 16, 6, 6, 3, 0.01f, true, false}),
            "forward=ref:any,weights=ref:any,data=ref:any");

    // oneDNN divides the work when it plans.
    const auto planned = cpu::make_convolution(good, "");
    Buffers b({1, 16, 16, 6, 6, 3, 0.01f}, *planned);
    const RunOn on(thread_count() + 1);
    CHECK_THROWS_AS(b.forward(*planned), Error);
}

TEST_CASE("convolution: channel blocks and keys") {
    CHECK(cpu::channel_block(1) == 1);
    CHECK(cpu::channel_block(7) == 1);
    const int widest = cpu::channel_block(64);
    CHECK((widest == 1 || widest == 8 || widest == 16));
    CHECK(cpu::channel_block(24) == std::min(widest, 8));
    const Case c{2, 16, 32, 6, 5, 3, 0.01f};
    std::set<std::string> keys{problem_of(c).key()};
    const auto differs = [&](const Case& other) { return keys.insert(problem_of(other).key()).second; };
    CHECK(differs({1, 16, 32, 6, 5, 3, 0.01f}));
    CHECK(differs({2, 32, 32, 6, 5, 3, 0.01f}));
    CHECK(differs({2, 16, 16, 6, 5, 3, 0.01f}));
    CHECK(differs({2, 16, 32, 5, 6, 3, 0.01f}));
    CHECK(differs({2, 16, 32, 6, 5, 1, 0.01f}));
    CHECK(differs({2, 16, 32, 6, 5, 3, 1.0f}));
    CHECK(differs({2, 16, 32, 6, 5, 3, 0.01f, true, false}));
    CHECK(differs({2, 16, 32, 6, 5, 3, 0.01f, false, true}));
    CHECK_FALSE(differs(c));
}
