// The CUDA kernels around the convolutions: max pooling, upsampling, leaky ReLU, sums, the gradient of a
// convolution's activation and bias, and the map from the raw output. Value, gradient, odd and non-square
// sizes, strided images, addresses that allow wide accesses and such that do not, overwrite and accumulate,
// overrun.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/base/error.h"
#include "kernels/layers/activation_gradient.h"
#include "kernels/layers/bfloat16.h"
#include "kernels/layers/blas1.h"
#include "kernels/layers/leaky_relu.h"
#include "kernels/layers/map_from_raw.h"
#include "kernels/layers/max_pool.h"
#include "kernels/layers/upsample.h"
#include "tests/kernels/layer_case.h"
#include "tests/support/device_buffer.h"

using namespace tvmap;
using namespace layer_case;

TEST_CASE("max pooling and its gradient are exact, ties and odd edges included") {
    for_each_case([](const Case& k) {
        const int planes = k.n * k.c, h2 = k.h / 2, w2 = k.w / 2;
        const Array x = values_with_ties(k.size(), 1);
        const Array d_y = random_values(std::int64_t(planes) * h2 * w2, 2), old = random_values(k.size(), 3);
        DeviceFeatures on_x(k.n, k.c, k.h, k.w, k.slack, x, k.offset);
        DeviceFeatures on_d_y(k.n, k.c, h2, w2, 2 * k.slack, d_y, k.offset);

        DeviceFeatures y(k.n, k.c, h2, w2, k.slack, k.offset);
        cuda::max_pool_forward(test_stream(), on_x.view(), y.view());
        CHECK(compared_bits(y.get(), reference::max_pool(x, planes, k.h, k.w)));
        CHECK(y.intact());

        const Array d_x = reference::max_pool_backward(x, d_y, planes, k.h, k.w);
        for (const Write write : writes) {
            DeviceFeatures on_d_x(k.n, k.c, k.h, k.w, 3 * k.slack, old, k.offset);
            cuda::max_pool_backward(test_stream(), on_x.view(), on_d_y.view(), on_d_x.view(), write);
            // One addition of two floats, which double holds exactly enough to round the same way.
            CHECK(compared_bits(on_d_x.get(), write == Write::overwrite ? d_x : as_float(plus(old, d_x))));
            CHECK(on_d_x.intact());
        }
    });
}

TEST_CASE("a NaN anywhere in the window makes the pooled value NaN and takes the gradient") {
    for (const int w : {2, 4})
        for (int place = 0; place < 4; ++place) {
            CAPTURE(w);
            CAPTURE(place);
            Array x(2 * w, 0.5);
            x[place / 2 * w + place % 2] = std::numeric_limits<double>::quiet_NaN();
            DeviceFeatures on_x(1, 1, 2, w, 0, x), y(1, 1, 1, w / 2), d_x(1, 1, 2, w);
            DeviceFeatures d_y(1, 1, 1, w / 2, 0, Array(w / 2, 2.0));
            cuda::max_pool_forward(test_stream(), on_x.view(), y.view());
            CHECK(std::isnan(y.get()[0]));
            cuda::max_pool_backward(test_stream(), on_x.view(), d_y.view(), d_x.view(), Write::overwrite);
            Array expected(2 * w, 0.0);
            expected[place / 2 * w + place % 2] = 2.0;
            if (w == 4) expected[2] = 2.0;
            CHECK(compared_bits(d_x.get(), expected));
        }
}

TEST_CASE("upsampling and its transpose") {
    // Weights in [0, 1] of values in [-1, 1]: three interpolations of two roundings each, with weights of
    // relative error 2^-24, stay below ten roundings of 2^-24. The transpose has ten roundings, of sums whose
    // weights' sum is at most 4.
    const double forward_tolerance = 6e-7, backward_tolerance = 2.5e-6;
    for_each_case([&](const Case& k) {
        const int planes = k.n * k.c;
        const Array x = random_values(k.size(), 4), d_y = random_values(4 * k.size(), 5);
        const Array old = random_values(k.size(), 6);
        DeviceFeatures on_x(k.n, k.c, k.h, k.w, k.slack, x, k.offset);
        DeviceFeatures on_d_y(k.n, k.c, 2 * k.h, 2 * k.w, 2 * k.slack, d_y, k.offset);

        DeviceFeatures y(k.n, k.c, 2 * k.h, 2 * k.w, k.slack, k.offset);
        cuda::upsample_forward(test_stream(), on_x.view(), y.view());
        CHECK(largest_difference(y.get(), reference::upsample(x, planes, k.h, k.w)) < forward_tolerance);
        CHECK(y.intact());

        const Array d_x = reference::upsample_backward(d_y, planes, k.h, k.w);
        for (const Write write : writes) {
            DeviceFeatures on_d_x(k.n, k.c, k.h, k.w, 3 * k.slack, old, k.offset);
            cuda::upsample_backward(test_stream(), on_d_y.view(), on_d_x.view(), write);
            const Array got = on_d_x.get();
            CHECK(largest_difference(got, write == Write::overwrite ? d_x : plus(old, d_x)) <
                  backward_tolerance);
            CHECK(on_d_x.intact());
            // ⟨Ux, y⟩ = ⟨x, Uᵀy⟩; random rounding errors of some 1e-7 per term add up like √size.
            if (write == Write::overwrite)
                CHECK(std::abs(dot(y.get(), d_y) - dot(x, got)) < 1e-6 * std::sqrt(double(d_y.size())));
        }
    });
}

TEST_CASE("upsampling keeps a constant, copies the corners, and repeats a single row or column") {
    for (const auto& size : {std::pair{1, 1}, {1, 5}, {1, 6}, {40, 1}, {6, 37}, {5, 8}}) {
        const int h = size.first, w = size.second;
        CAPTURE(h);
        CAPTURE(w);
        DeviceFeatures constant(1, 2, h, w, 0, Array(2 * h * w, double(0.3f)));
        DeviceFeatures y(1, 2, 2 * h, 2 * w);
        cuda::upsample_forward(test_stream(), constant.view(), y.view());
        CHECK(compared_bits(y.get(), Array(8 * h * w, double(0.3f))));
        const Array x = random_values(2 * h * w, 7), d_y = random_values(8 * h * w, 8);
        DeviceFeatures on_x(1, 2, h, w, 0, x);
        cuda::upsample_forward(test_stream(), on_x.view(), y.view());
        const Array up = y.get();
        CHECK(largest_difference(up, reference::upsample(x, 2, h, w)) < 6e-7);  // as above
        for (int c = 0; c < 2; ++c) {
            CHECK(up[c * 4 * h * w] == x[c * h * w]);
            CHECK(up[(c + 1) * 4 * h * w - 1] == x[(c + 1) * h * w - 1]);
        }
        DeviceFeatures on_d_y(1, 2, 2 * h, 2 * w, 0, d_y), d_x(1, 2, h, w);
        cuda::upsample_backward(test_stream(), on_d_y.view(), d_x.view(), Write::overwrite);
        CHECK(largest_difference(d_x.get(), reference::upsample_backward(d_y, 2, h, w)) <
              2.5e-6);  // as above
    }
}

TEST_CASE("leaky ReLU, its gradient, sums and zeros are exact, in place too") {
    const float slope = 0.01f;
    for_each_case([&](const Case& k) {
        Array x = random_values(k.size(), 9);
        x[0] = 0;
        const Array d_y = random_values(k.size(), 10), old = random_values(k.size(), 11);
        Array y = x, d_x = d_y;
        for (std::int64_t i = 0; i < k.size(); ++i) {
            y[i] = float(reference::leaky_relu(x[i], slope));
            d_x[i] = float(x[i] > 0 ? d_y[i] : slope * d_y[i]);
        }
        DeviceFeatures on_x(k.n, k.c, k.h, k.w, k.slack, x, k.offset);
        DeviceFeatures on_d_y(k.n, k.c, k.h, k.w, 3 * k.slack, d_y, k.offset);
        DeviceFeatures on_y(k.n, k.c, k.h, k.w, 2 * k.slack, k.offset);
        cuda::leaky_relu_forward(test_stream(), on_x.view(), on_y.view(), slope);
        CHECK(compared_bits(on_y.get(), y));
        CHECK(on_y.intact());
        for (const Write write : writes) {
            DeviceFeatures on_d_x(k.n, k.c, k.h, k.w, k.slack, old, k.offset);
            cuda::leaky_relu_backward(test_stream(), on_y.view(), on_d_y.view(), on_d_x.view(), slope, write);
            CHECK(compared_bits(on_d_x.get(), write == Write::overwrite ? d_x : as_float(plus(old, d_x))));
            CHECK(on_d_x.intact());
        }
        DeviceFeatures sum(k.n, k.c, k.h, k.w, k.slack, k.offset);
        cuda::add(test_stream(), on_x.view(), on_d_y.view(), sum.view());
        CHECK(compared_bits(sum.get(), as_float(plus(x, d_y))));
        CHECK(sum.intact());
        cuda::fill(test_stream(), sum.view(), 0.0f);
        CHECK(compared_bits(sum.get(), Array(k.size(), 0.0)));
        CHECK(sum.intact());

        cuda::leaky_relu_backward(test_stream(), on_y.view(), on_d_y.view(), on_d_y.view(), slope,
                                  Write::overwrite);
        CHECK(compared_bits(on_d_y.get(), d_x));
        cuda::leaky_relu_forward(test_stream(), on_x.view(), on_x.view(), slope);
        CHECK(compared_bits(on_x.get(), y));
        cuda::add(test_stream(), on_x.view(), on_y.view(), on_x.view());
        CHECK(compared_bits(on_x.get(), as_float(plus(y, y))));
    });
}

TEST_CASE("activation gradient: d_a is exact, d_bias is its sum") {
    for_each_case([](const Case& k) {
        const std::int64_t plane = k.h * k.w;
        const Array y = values_with_ties(k.size(), 12), d_y = random_values(k.size(), 13);  // zeros in y, too
        const Array old_bias = random_values(k.c, 14);
        for (const float slope : {0.1f, 1.0f})
            for (const Write write : writes)
                for (const bool in_place : {false, true}) {
                    CAPTURE(slope);
                    CAPTURE(in_place);
                    Array d_a = d_y, d_bias(k.c, 0.0);
                    for (std::int64_t i = 0; i < k.size(); ++i) {
                        if (y[i] <= 0) d_a[i] = double(float(slope * d_a[i]));
                        d_bias[i / plane % k.c] += d_a[i];
                    }
                    if (write == Write::accumulate) d_bias = plus(d_bias, old_bias);
                    DeviceFeatures on_y(k.n, k.c, k.h, k.w, k.slack, y, k.offset);
                    DeviceFeatures on_d_y(k.n, k.c, k.h, k.w, 2 * k.slack, d_y, k.offset);
                    DeviceFeatures apart(k.n, k.c, k.h, k.w, 0, k.offset);
                    DeviceFeatures& on_d_a = in_place ? on_d_y : apart;
                    DeviceFeatures on_d_bias(1, k.c, 1, 1, 0, old_bias);
                    DeviceBuffer<std::uint8_t> workspace(
                        std::int64_t(cuda::activation_gradient_workspace_bytes(on_d_y.shape())));
                    const ConstView no_y{nullptr, on_y.shape()};
                    cuda::activation_gradient(test_stream(), slope == 1.0f ? no_y : ConstView(on_y.view()),
                                              on_d_y.view(), on_d_a.view(), slope, on_d_bias.data(), write,
                                              workspace.data());
                    CHECK(compared_bits(on_d_a.get(), d_a));
                    // Sixteen floats of up to 1 are added up in single precision, everything else in double:
                    // relative to a sum of n terms at most 16 roundings; what cancels is covered by √n.
                    CHECK(largest_difference(on_d_bias.get(), d_bias) < 1e-6 * std::sqrt(k.n * plane));
                    CHECK(on_d_a.intact());
                    CHECK(on_d_bias.intact());
                    CHECK(workspace.intact());
                }
    });
}

TEST_CASE("bias and activation in place are exact") {
    for_each_case([](const Case& k) {
        const std::int64_t plane = k.h * k.w;
        const Array a = random_values(k.size(), 15), bias = random_values(k.c, 16);
        DeviceFeatures on_bias(1, k.c, 1, 1, 0, bias);
        for (const float slope : {0.1f, 1.0f}) {
            Array y = as_float(a);
            for (std::int64_t i = 0; i < k.size(); ++i)
                y[i] = float(reference::leaky_relu(float(a[i] + bias[i / plane % k.c]), slope));
            DeviceFeatures on_y(k.n, k.c, k.h, k.w, k.slack, a, k.offset);
            cuda::bias_activation(test_stream(), on_y.view(), on_bias.data(), slope);
            CHECK(compared_bits(on_y.get(), y));
            CHECK(on_y.intact());
        }
    });
}

TEST_CASE("map from raw: values and slopes over the whole range of r") {
    const int count = 1801;
    Array r(count);
    for (int i = 0; i < count; ++i) r[i] = float((i - 900) / 900.0 * 85);  // exp(−85) is still a normal float
    DeviceFeatures raw(1, 1, 1, count, 0, r), ones(1, 1, 1, count, 0, Array(count, 1.0));
    for (const auto& [scale, bound] : {std::pair{0.1f, 0.0f}, {0.1f, 0.7f}}) {
        DeviceFeatures lambda(1, 1, 1, count), d_raw(1, 1, 1, count);
        cuda::map_from_raw_forward(test_stream(), {scale, bound}, raw.view(), lambda.view());
        cuda::map_from_raw_backward(test_stream(), {scale, bound}, raw.view(), ones.view(), d_raw.view(),
                                    Write::overwrite);
        // Quotients to their exact values: exp and log1p within 2 ulp of 2^-23 each, five roundings of 2^-24.
        const double tolerance = 8e-7;
        Array value = lambda.get(), slope = d_raw.get();
        for (int i = 0; i < count; ++i) {
            value[i] /= reference::map_from_raw(r[i], scale, bound);
            const double s = reference::sigmoid(r[i]), rest = reference::sigmoid(-r[i]);
            slope[i] /= bound > 0 ? bound * s * rest : scale * s;
        }
        CHECK(largest_difference(value, Array(count, 1.0)) < tolerance);
        CHECK(largest_difference(slope, Array(count, 1.0)) < tolerance);
    }
}

TEST_CASE("map from raw: extremes do not overflow") {
    DeviceFeatures raw(1, 1, 1, 6, 0, {-1e30, -200, 100, 200, 1e30, 0}), lambda(1, 1, 1, 6);
    DeviceFeatures ones(1, 1, 1, 6, 0, Array(6, 1.0)), d_raw(1, 1, 1, 6);
    const double large = 0.5 * double(1e30f), log2 = 0.5 * std::log(2.0);
    // log 2 is rounded, and so is its exponential's sum before; all else is exact.
    cuda::map_from_raw_forward(test_stream(), {0.5f, 0}, raw.view(), lambda.view());
    CHECK(largest_difference(lambda.get(), Array{0, 0, 50, 100, large, log2}) < 1e-7);
    cuda::map_from_raw_backward(test_stream(), {0.5f, 0}, raw.view(), ones.view(), d_raw.view(),
                                Write::overwrite);
    CHECK(largest_difference(d_raw.get(), Array{0, 0, 0.5, 0.5, 0.5, 0.25}) < 1e-37);
    cuda::map_from_raw_forward(test_stream(), {0.5f, 2}, raw.view(), lambda.view());
    CHECK(largest_difference(lambda.get(), Array{0, 0, 2, 2, 2, 1}) < 1e-37);
    cuda::map_from_raw_backward(test_stream(), {0.5f, 2}, raw.view(), ones.view(), d_raw.view(),
                                Write::overwrite);
    CHECK(largest_difference(d_raw.get(), Array{0, 0, 0, 0, 0, 0.5}) < 1e-37);
}

TEST_CASE("map from raw: what is not a number stays so") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    DeviceFeatures raw(1, 1, 1, 6, 0, Array(6, nan)), lambda(1, 1, 1, 6);
    for (const float up_bound : {0.0f, 2.0f}) {
        cuda::map_from_raw_forward(test_stream(), {0.5f, up_bound}, raw.view(), lambda.view());
        for (const double value : lambda.get()) CHECK(std::isnan(value));
    }
}

TEST_CASE("map from raw: a shared map leaves no gradient for the channels it does not use") {
    for (const auto& size : {std::pair{17, 9}, {8, 12}})
        for (const int maps : {1, 2})
            for (const Write write : writes) {
                const int h = size.first, w = size.second;
                CAPTURE(maps);
                CAPTURE(h);
                const int n = 2;
                const Array r = random_values(n * 2 * h * w, 17), old = random_values(n * 2 * h * w, 18);
                const Array d_lambda = random_values(n * maps * h * w, 19);
                DeviceFeatures raw(n, 2, h, w, 1, r), lambda(n, maps, h, w, 3);
                DeviceFeatures on_d_lambda(n, maps, h, w, 0, d_lambda);
                DeviceFeatures d_raw(n, 2, h, w, 2, old);
                cuda::map_from_raw_forward(test_stream(), {}, raw.view(), lambda.view());
                cuda::map_from_raw_backward(test_stream(), {}, raw.view(), on_d_lambda.view(), d_raw.view(),
                                            write);
                CHECK(lambda.intact());
                CHECK(d_raw.intact());
                Array expected(n * maps * h * w), d_expected(r.size(), 0.0);
                for (int i = 0; i < n; ++i)
                    for (int c = 0; c < 2; ++c)
                        for (int p = 0; p < h * w; ++p) {
                            const int at = (i * 2 + c) * h * w + p, map_at = (i * maps + c) * h * w + p;
                            if (c < maps) {
                                expected[map_at] = reference::map_from_raw(r[at], 0.1f, 0);
                                d_expected[at] = d_lambda[map_at] * 0.1f * reference::sigmoid(r[at]);
                            }
                            if (write == Write::accumulate) d_expected[at] += old[at];
                        }
                CHECK(largest_difference(lambda.get(), expected) < 1e-7);  // Λ ≤ 0.14, seven roundings
                // A rounding of a number up to 1.1, and the same.
                CHECK(largest_difference(d_raw.get(), d_expected) < 2e-7);
            }
}

TEST_CASE("addresses that allow no wide access, of any operand, give the same bits") {
    const int n = 2, c = 3, h = 16, w = 24;
    const Array large = random_values(n * c * h * w, 20), small = random_values(n * c * h * w / 4, 21);
    std::vector<Array> aligned;
    for (int which = 0; which < 8; ++which) {  // a bit for each of two inputs and the output
        CAPTURE(which);
        const int first = which & 1, second = which >> 1 & 1, third = which >> 2;
        std::vector<Array> results;
        const auto note = [&](const DeviceFeatures& result) { results.push_back(result.get()); };
        const DeviceFeatures x(n, c, h, w, 0, large, first), g(n, c, h, w, 1, large, second);
        const DeviceFeatures x_small(n, c, h / 2, w / 2, 0, small, first);
        const DeviceFeatures g_small(n, c, h / 2, w / 2, 0, small, second);
        const DeviceFeatures out(n, c, h, w, 1, third), out_small(n, c, h / 2, w / 2, 1, third);
        cuda::max_pool_forward(test_stream(), x.view(), out_small.view()), note(out_small);
        cuda::max_pool_backward(test_stream(), x.view(), g_small.view(), out.view(), Write::overwrite);
        note(out);
        cuda::upsample_forward(test_stream(), x_small.view(), out.view()), note(out);
        cuda::upsample_backward(test_stream(), x.view(), out_small.view(), Write::overwrite), note(out_small);
        cuda::leaky_relu_backward(test_stream(), x.view(), g.view(), out.view(), 0.1f, Write::overwrite);
        note(out);
        cuda::leaky_relu_forward(test_stream(), x.view(), out.view(), 0.1f), note(out);
        cuda::add(test_stream(), x.view(), g.view(), out.view()), note(out);
        cuda::map_from_raw_forward(test_stream(), {}, x.view(), out.view()), note(out);
        cuda::map_from_raw_backward(test_stream(), {}, x.view(), g.view(), out.view(), Write::accumulate);
        note(out);
        const DeviceFeatures bias(1, c, 1, 1);
        const DeviceBuffer<std::uint8_t> workspace(
            std::int64_t(cuda::activation_gradient_workspace_bytes(x.shape())));
        cuda::activation_gradient(test_stream(), x.view(), g.view(), out.view(), 0.1f, bias.data(),
                                  Write::overwrite, workspace.data());
        note(out), note(bias);
        cuda::bias_activation(test_stream(), out.view(), bias.data(), 0.1f), note(out);
        const DeviceBuffer<std::uint16_t> narrow(x.shape().size() + second);
        cuda::to_bfloat16(test_stream(), x.view(), narrow.data() + second, false);
        cuda::from_bfloat16(test_stream(), narrow.data() + second, false, out.view(), Write::overwrite);
        note(out);
        cuda::fill(test_stream(), out.view(), 0.5f), note(out);
        if (which == 0) aligned = results;
        for (std::size_t i = 0; i < aligned.size(); ++i) CHECK(compared_bits(results[i], aligned[i]));
    }
}

TEST_CASE("wrong shapes are refused, by name") {
    DeviceFeatures x(1, 16, 4, 4), y(1, 16, 3, 2), two(1, 2, 4, 4), flat(1, 16, 1, 4);
    const gpu::Stream stream = test_stream();
    CHECK_THROWS_WITH_AS(cuda::max_pool_forward(stream, x.view(), y.view()),
                         "max_pool: y is 1×16×3×2 in blocks of 1, it must be 1×16×2×2 in blocks of 1", Error);
    CHECK_THROWS_AS(cuda::max_pool_forward(stream, flat.view(), y.view()), Error);
    CHECK_THROWS_AS(cuda::upsample_forward(stream, x.view(), y.view()), Error);
    CHECK_THROWS_AS(cuda::upsample_backward(stream, x.view(), y.view(), Write::overwrite), Error);
    CHECK_THROWS_AS(cuda::leaky_relu_forward(stream, x.view(), y.view(), 0.1f), Error);
    CHECK_THROWS_AS(cuda::add(stream, x.view(), x.view(), y.view()), Error);
    CHECK_THROWS_AS(cuda::map_from_raw_forward(stream, {}, two.view(), x.view()), Error);
    CHECK_THROWS_AS(cuda::activation_gradient(stream, y.view(), x.view(), x.view(), 0.1f, nullptr,
                                              Write::overwrite, nullptr),
                    Error);
    View blocked = x.view();
    blocked.shape.block = 16;
    CHECK_THROWS_WITH_AS(
        cuda::fill(stream, blocked, 0.0f),
        "fill: a tensor is 1×16×4×4 in blocks of 16, on CUDA it must be planar (blocks of 1)", Error);
    CHECK_THROWS_AS(cuda::to_bfloat16(stream, blocked, nullptr, true), Error);
}
