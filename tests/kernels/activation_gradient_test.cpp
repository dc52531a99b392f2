// The gradient of a convolution's activation and bias: value, and the same bits wherever it is computed.
#include "kernels/layers/activation_gradient.h"

#include <doctest/doctest.h>

#include "tests/convolution/convolution_case.h"
#include "tests/support/run_on.h"

using namespace convolution_case;

TEST_CASE("activation gradient: the same bits on any instruction set and number of threads") {
    for (const int block : {1, 8, 16}) {
        // More than one piece of a sum, and odd sizes that fill no vector.
        const Features shape = dense_features(2, 16, 61, 67, block);
        const std::size_t count = std::size_t(shape.size());
        const Doubles plain_y = random_values(count, 1), plain_d_y = random_values(count, 2);
        FeatureBuffer y(shape), d_y(shape);
        y.set(plain_y), d_y.set(plain_d_y);
        Doubles expected_d_a = plain_d_y, expected_d_bias(16);
        for (std::size_t k = 0; k < count; ++k) {
            if (plain_y[k] <= 0) expected_d_a[k] = double(0.1f * float(expected_d_a[k]));
            expected_d_bias[k / (61 * 67) % 16] += expected_d_a[k];
        }
        Doubles first;
        for (const std::string& instruction_set : cpu::instruction_sets())
            for (const int threads : {1, 2, 3}) {
                CAPTURE(instruction_set);
                const RunOn on(threads, instruction_set);
                FeatureBuffer d_a(shape);
                FeatureBuffer d_bias = FeatureBuffer::vector(16);
                FeatureBuffer workspace =
                    FeatureBuffer::vector(cpu::activation_gradient_workspace_bytes(shape) / sizeof(float));
                cpu::activation_gradient(y.view(), d_y.view(), d_a.view(), 0.1f, d_bias.data(),
                                         Write::overwrite, workspace.data());
                CHECK(workspace.intact());
                CHECK(d_bias.intact());
                CHECK(d_a.intact());
                CHECK(d_a.get() == expected_d_a);
                const Doubles got = d_bias.get();
                CHECK(relative_error(got, expected_d_bias) < direct);
                if (first.empty()) first = got;
                CHECK(got == first);
            }
    }
}
