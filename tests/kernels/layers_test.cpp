// Max pooling, upsampling, leaky ReLU, sums and the map from the raw output: value, gradient, every block size, odd and
// non-square sizes, strided images, overwrite and accumulate, overrun; on every instruction set, with one and
// with several threads.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include "kernels/base/error.h"
#include "kernels/layers/leaky_relu.h"
#include "kernels/layers/map_from_raw.h"
#include "kernels/layers/max_pool.h"
#include "kernels/layers/upsample.h"
#include "tests/reference/layers.h"
#include "tests/support/feature_buffer.h"
#include "tests/support/run_on.h"

using namespace tvmap;
using reference::Array;

namespace {

struct Case {
    int n, c, h, w, block, slack;
};

// Odd, tiny, non-square; the last ones are large enough for several threads.
const Case cases[] = {{1, 1, 2, 2, 1, 0},      {2, 3, 5, 7, 1, 2},   {1, 2, 9, 70, 1, 0},
                      {2, 8, 3, 2, 8, 8},      {1, 16, 7, 5, 8, 0},  {3, 16, 4, 9, 16, 16},
                      {2, 32, 6, 3, 16, 16},   {1, 32, 2, 2, 16, 0}, {2, 1, 131, 149, 1, 1},
                      {2, 32, 27, 23, 16, 16}, {1, 24, 41, 37, 8, 8}};

Array random_values(std::int64_t count, int seed) {
    std::mt19937 generator(static_cast<unsigned>(seed));
    std::uniform_real_distribution<float> uniform(-1, 1);  // float, so that the product gets the same numbers
    Array values(count);
    for (double& v : values) v = uniform(generator);
    return values;
}

/// Few distinct values, so that windows have ties.
Array values_with_ties(std::int64_t count, int seed) {
    Array values = random_values(count, seed);
    for (double& v : values) v = std::round(v * 2) / 2;
    return values;
}

Array plus(const Array& a, const Array& b) {
    Array sum(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) sum[i] = a[i] + b[i];
    return sum;
}

double largest_difference(const Array& a, const Array& b) {
    REQUIRE(a.size() == b.size());
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double difference = std::abs(a[i] - b[i]);
        if (!(difference <= largest)) largest = difference;  // a NaN stays
    }
    return largest;
}

double dot(const Array& a, const Array& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

Array as_float(Array values) {
    for (double& v : values) v = float(v);
    return values;
}

/// Runs `body` for every case, instruction set and thread count.
void everywhere(const std::function<void(const Case&)>& body) {
    for (const std::string& set : cpu::instruction_sets())
        for (const int threads : {1, 3})
            for (const Case& k : cases) {
                CAPTURE(set);
                CAPTURE(threads);
                CAPTURE(k.c);
                CAPTURE(k.h);
                CAPTURE(k.w);
                CAPTURE(k.block);
                const RunOn on(threads, set);
                body(k);
            }
}

constexpr Write writes[] = {Write::overwrite, Write::accumulate};

}  // namespace

TEST_CASE("max pooling and its gradient are exact, ties and odd edges included") {
    everywhere([](const Case& k) {
        const int planes = k.n * k.c, h2 = k.h / 2, w2 = k.w / 2;
        const Array x = values_with_ties(std::int64_t(planes) * k.h * k.w, 1);
        const Array d_y = random_values(std::int64_t(planes) * h2 * w2, 2);
        const FeatureBuffer x_buffer(k.n, k.c, k.h, k.w, k.block, k.slack, x);
        const FeatureBuffer d_y_buffer(k.n, k.c, h2, w2, k.block, 2 * k.slack, d_y);

        FeatureBuffer y(k.n, k.c, h2, w2, k.block, k.slack);
        cpu::max_pool_forward(x_buffer.view(), y.view());
        CHECK(y.get() == reference::max_pool(x, planes, k.h, k.w));
        CHECK(y.intact());

        const Array d_x = reference::max_pool_backward(x, d_y, planes, k.h, k.w);
        const Array old = random_values(std::int64_t(x.size()), 3);
        for (const Write write : writes) {
            FeatureBuffer d_x_buffer(k.n, k.c, k.h, k.w, k.block, 3 * k.slack, old);
            cpu::max_pool_backward(x_buffer.view(), d_y_buffer.view(), d_x_buffer.view(), write);
            // One addition of two floats, which double holds exactly enough to round the same way.
            CHECK(d_x_buffer.get() == (write == Write::overwrite ? d_x : as_float(plus(old, d_x))));
            CHECK(d_x_buffer.intact());
        }
    });
}

TEST_CASE("the gradient of max pooling agrees with finite differences where no window has a tie") {
    const int h = 5, w = 6;
    const Array x = random_values(h * w, 4), d_y = random_values(6, 5);
    const FeatureBuffer x_buffer(1, 1, h, w, 1, 0, x), d_y_buffer(1, 1, 2, 3, 1, 0, d_y);
    FeatureBuffer d_x(1, 1, h, w, 1);
    cpu::max_pool_backward(x_buffer.view(), d_y_buffer.view(), d_x.view(), Write::overwrite);
    const double step = 1e-7;  // the closest two values of this draw differ by more
    for (int i = 0; i < h * w; ++i) {
        Array up = x, down = x;
        up[i] += step, down[i] -= step;
        const double slope =
            (dot(reference::max_pool(up, 1, h, w), d_y) - dot(reference::max_pool(down, 1, h, w), d_y)) /
            (2 * step);
        CHECK(slope ==
              doctest::Approx(d_x.get()[i]).epsilon(1e-7));  // piecewise linear: rounding of the quotient
    }
}

TEST_CASE("a NaN anywhere in the window makes the pooled value NaN and takes the gradient") {
    for (const std::string& set : cpu::instruction_sets())
        for (const int block : {1, 8, 16})
            for (int place = 0; place < 4; ++place) {
                CAPTURE(set);
                CAPTURE(block);
                CAPTURE(place);
                const RunOn on(1, set);
                Array x(block * 4, 0.5);
                for (int c = 0; c < block; ++c) x[4 * c + place] = std::numeric_limits<double>::quiet_NaN();
                const FeatureBuffer x_buffer(1, block, 2, 2, block, 0, x);
                const FeatureBuffer d_y(1, block, 1, 1, block, 0, Array(block, 2.0));
                FeatureBuffer y(1, block, 1, 1, block), d_x(1, block, 2, 2, block);
                cpu::max_pool_forward(x_buffer.view(), y.view());
                cpu::max_pool_backward(x_buffer.view(), d_y.view(), d_x.view(), Write::overwrite);
                for (int c = 0; c < block; ++c) {
                    CHECK(std::isnan(y.get()[c]));
                    CHECK(d_x.get()[4 * c + place] == 2.0);
                }
            }
}

TEST_CASE("upsampling and its transpose") {
    // Weights in [0, 1] of values in [-1, 1]: three interpolations with weights of relative error 2^-23 and a
    // rounding each stay below ten roundings of 2^-24. The transpose sums up to nine values (the weights to
    // sum up to 4), 16 products.
    const double forward_tolerance = 6e-7, backward_tolerance = 2e-6;
    everywhere([&](const Case& k) {
        const int planes = k.n * k.c;
        const Array x = random_values(std::int64_t(planes) * k.h * k.w, 6);
        const Array d_y = random_values(4 * std::int64_t(x.size()), 7);
        const FeatureBuffer x_buffer(k.n, k.c, k.h, k.w, k.block, k.slack, x);
        const FeatureBuffer d_y_buffer(k.n, k.c, 2 * k.h, 2 * k.w, k.block, 2 * k.slack, d_y);

        FeatureBuffer y(k.n, k.c, 2 * k.h, 2 * k.w, k.block, k.slack);
        cpu::upsample_forward(x_buffer.view(), y.view());
        CHECK(largest_difference(y.get(), reference::upsample(x, planes, k.h, k.w)) < forward_tolerance);
        CHECK(y.intact());

        const Array d_x = reference::upsample_backward(d_y, planes, k.h, k.w);
        const Array old = random_values(std::int64_t(x.size()), 8);
        for (const Write write : writes) {
            FeatureBuffer d_x_buffer(k.n, k.c, k.h, k.w, k.block, 3 * k.slack, old);
            cpu::upsample_backward(d_y_buffer.view(), d_x_buffer.view(), write);
            const Array expected = write == Write::overwrite ? d_x : plus(old, d_x);
            CHECK(largest_difference(d_x_buffer.get(), expected) < backward_tolerance);
            CHECK(d_x_buffer.intact());
            // ⟨Ux, y⟩ = ⟨x, Uᵀy⟩; random rounding errors of some 1e-7 per term add up like √size.
            if (write == Write::overwrite)
                CHECK(std::abs(dot(y.get(), d_y) - dot(x, d_x_buffer.get())) <
                      1e-6 * std::sqrt(double(d_y.size())));
        }
    });
}

TEST_CASE("upsampling keeps a constant, copies the corners, and repeats a single row or column") {
    for (const int block : {1, 8, 16})
        for (const auto& size : {std::pair{1, 1}, {1, 5}, {40, 1}, {6, 37}}) {
            const int h = size.first, w = size.second;
            CAPTURE(block);
            CAPTURE(h);
            CAPTURE(w);
            FeatureBuffer constant(1, block, h, w, block, 0, Array(block * h * w, double(0.3f)));
            FeatureBuffer y(1, block, 2 * h, 2 * w, block);
            cpu::upsample_forward(constant.view(), y.view());
            CHECK(y.get() == Array(4 * block * h * w, double(0.3f)));
            CHECK(y.intact());
            const Array x = random_values(block * h * w, 9);
            const FeatureBuffer x_buffer(1, block, h, w, block, 0, x);
            cpu::upsample_forward(x_buffer.view(), y.view());
            const Array up = y.get();
            CHECK(largest_difference(up, reference::upsample(x, block, h, w)) < 6e-7);  // as above
            for (int c = 0; c < block; ++c) {
                CHECK(up[c * 4 * h * w] == x[c * h * w]);
                CHECK(up[(c + 1) * 4 * h * w - 1] == x[(c + 1) * h * w - 1]);
            }
        }
}

TEST_CASE("leaky ReLU, its gradient and sums are exact, in place too") {
    const float slope = 0.01f;
    everywhere([&](const Case& k) {
        const std::int64_t size = std::int64_t(k.n) * k.c * k.h * k.w;
        Array x = random_values(size, 10);
        x[0] = 0;
        const Array d_y = random_values(size, 11), old = random_values(size, 12);
        Array y = x, d_x = d_y;
        for (std::int64_t i = 0; i < size; ++i) {
            y[i] = float(reference::leaky_relu(x[i], slope));
            d_x[i] =
                float(x[i] > 0 ? d_y[i] : slope * d_y[i]);  // from the input; the product reads the output
        }
        FeatureBuffer x_buffer(k.n, k.c, k.h, k.w, k.block, k.slack, x);
        FeatureBuffer d_y_buffer(k.n, k.c, k.h, k.w, k.block, 3 * k.slack, d_y);
        FeatureBuffer y_buffer(k.n, k.c, k.h, k.w, k.block, 2 * k.slack);
        cpu::leaky_relu_forward(x_buffer.view(), y_buffer.view(), slope);
        CHECK(y_buffer.get() == y);
        CHECK(y_buffer.intact());
        for (const Write write : writes) {
            FeatureBuffer d_x_buffer(k.n, k.c, k.h, k.w, k.block, k.slack, old);
            cpu::leaky_relu_backward(y_buffer.view(), d_y_buffer.view(), d_x_buffer.view(), slope, write);
            CHECK(d_x_buffer.get() == (write == Write::overwrite ? d_x : as_float(plus(old, d_x))));
            CHECK(d_x_buffer.intact());
        }
        FeatureBuffer sum(k.n, k.c, k.h, k.w, k.block, k.slack);
        cpu::add(x_buffer.view(), d_y_buffer.view(), sum.view());
        CHECK(sum.get() == as_float(plus(x, d_y)));
        CHECK(sum.intact());

        cpu::leaky_relu_backward(y_buffer.view(), d_y_buffer.view(), d_y_buffer.view(), slope,
                                 Write::overwrite);
        CHECK(d_y_buffer.get() == d_x);
        cpu::leaky_relu_forward(x_buffer.view(), x_buffer.view(), slope);
        CHECK(x_buffer.get() == y);
        cpu::add(x_buffer.view(), y_buffer.view(), x_buffer.view());
        CHECK(x_buffer.get() == as_float(plus(y, y)));
    });
}

TEST_CASE("map from raw: values and slopes over the whole range of r") {
    for (const std::string& set : cpu::instruction_sets()) {
        CAPTURE(set);
        const RunOn on(1, set);
        const int count = 3601;
        Array r(count);
        for (int i = 0; i < count; ++i)
            r[i] = float((i - 1800) / 1800.0 * 85);  // exp(−85) is still a normal float
        const FeatureBuffer raw(1, 1, 1, count, 1, 0, r), ones(1, 1, 1, count, 1, 0, Array(count, 1.0));
        for (const float bound : {0.0f, 0.7f}) {
            const float scale = 0.1f;
            FeatureBuffer lambda(1, 1, 1, count, 1), d_raw(1, 1, 1, count, 1);
            cpu::map_from_raw_forward({scale, bound}, raw.view(), lambda.view());
            cpu::map_from_raw_backward({scale, bound}, raw.view(), ones.view(), d_raw.view(),
                                       Write::overwrite);
            double value_error = 0, slope_error = 0;
            for (int i = 0; i < count; ++i) {
                const auto map = [&](double at) { return reference::map_from_raw(at, scale, bound); };
                value_error = std::max(value_error, std::abs(lambda.get()[i] / map(r[i]) - 1));
                const double step = 1e-4;
                const double slope = (map(r[i] + step) - map(r[i] - step)) / (2 * step);
                // In double the quotient loses eps·Λ/(step·slope), and step²/6 to the curvature.
                if (slope > 1e-3 * map(r[i]))
                    slope_error = std::max(slope_error, std::abs(d_raw.get()[i] / slope - 1));
            }
            // Exp within 1 ulp, Log1p within 2, and five roundings of 2^-24.
            CHECK(value_error < 7e-7);
            CHECK(slope_error < 7e-7);
        }
    }
}

TEST_CASE("map from raw: extremes do not overflow") {
    const Array r{-1e30, -200, -100, 100, 200, 1e30, 0};
    const FeatureBuffer raw(1, 1, 1, 7, 1, 0, r), ones(1, 1, 1, 7, 1, 0, Array(7, 1.0));
    FeatureBuffer lambda(1, 1, 1, 7, 1), d_raw(1, 1, 1, 7, 1);
    cpu::map_from_raw_forward({0.5f, 0}, raw.view(), lambda.view());
    for (int i = 0; i < 3; ++i) CHECK(std::abs(lambda.get()[i]) < 1e-37);
    for (int i = 3; i < 6; ++i) CHECK(lambda.get()[i] == float(0.5 * float(r[i])));
    cpu::map_from_raw_backward({0.5f, 0}, raw.view(), ones.view(), d_raw.view(), Write::overwrite);
    CHECK(d_raw.get()[0] == 0.0);
    CHECK(d_raw.get()[5] == 0.5);
    cpu::map_from_raw_forward({0.5f, 2}, raw.view(), lambda.view());
    CHECK(lambda.get()[5] == 2.0);
    CHECK(lambda.get()[6] == 1.0);
    cpu::map_from_raw_backward({0.5f, 2}, raw.view(), ones.view(), d_raw.view(), Write::overwrite);
    CHECK(d_raw.get()[0] == 0.0);
    CHECK(d_raw.get()[5] == 0.0);
    CHECK(d_raw.get()[6] == 0.5);
}

TEST_CASE("map from raw: what is not a number stays so") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const FeatureBuffer raw(1, 1, 1, 19, 1, 0, Array(19, nan));  // vectors and a rest, of any width
    FeatureBuffer lambda(1, 1, 1, 19, 1);
    for (const float up_bound : {0.0f, 2.0f}) {
        cpu::map_from_raw_forward({0.5f, up_bound}, raw.view(), lambda.view());
        for (const double value : lambda.get()) CHECK(std::isnan(value));
    }
}

TEST_CASE("map from raw: a shared map leaves no gradient for the channels it does not use") {
    for (const int maps : {1, 2})
        for (const Write write : writes) {
            CAPTURE(maps);
            const int n = 2, h = 37, w = 29;
            const Array r = random_values(n * 2 * h * w, 13), old = random_values(n * 2 * h * w, 14);
            const Array d_lambda = random_values(n * maps * h * w, 15);
            const FeatureBuffer raw(n, 2, h, w, 1, 1, r), d_lambda_buffer(n, maps, h, w, 1, 0, d_lambda);
            FeatureBuffer lambda(n, maps, h, w, 1, 3), d_raw(n, 2, h, w, 1, 2, old);
            cpu::map_from_raw_forward({}, raw.view(), lambda.view());
            cpu::map_from_raw_backward({}, raw.view(), d_lambda_buffer.view(), d_raw.view(), write);
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
            CHECK(largest_difference(d_raw.get(), d_expected) <
                  2e-7);  // a rounding of a number up to 1.1, and the same
        }
}

TEST_CASE("wrong shapes are refused, by name") {
    FeatureBuffer x(1, 16, 4, 4, 16), y(1, 16, 3, 2, 16), two(1, 2, 4, 4, 1), blocked(1, 16, 1, 4, 16);
    CHECK_THROWS_WITH_AS(cpu::max_pool_forward(x.view(), y.view()),
                         "max_pool: y is 1×16×3×2 in blocks of 16, it must be 1×16×2×2 in blocks of 16",
                         Error);
    CHECK_THROWS_AS(cpu::max_pool_forward(blocked.view(), y.view()), Error);
    CHECK_THROWS_AS(cpu::upsample_forward(x.view(), y.view()), Error);
    CHECK_THROWS_AS(cpu::upsample_backward(x.view(), y.view(), Write::overwrite), Error);
    CHECK_THROWS_AS(cpu::leaky_relu_forward(x.view(), y.view(), 0.1f), Error);
    CHECK_THROWS_AS(cpu::add(x.view(), x.view(), y.view()), Error);
    CHECK_THROWS_AS(cpu::map_from_raw_forward({}, x.view(), x.view()), Error);
    CHECK_THROWS_AS(cpu::map_from_raw_forward({}, x.view(), two.view()), Error);
}
