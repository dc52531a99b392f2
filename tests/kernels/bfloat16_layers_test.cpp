// The layers around the convolutions on tensors of bf16, on every instruction set: what is loaded is taken as it is, what
// is stored is rounded once, to the nearest, ties to even; and bf16 is refused by those that know floats alone.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include "kernels/base/error.h"
#include "kernels/layers/activation_gradient.h"
#include "kernels/layers/blas1.h"
#include "kernels/layers/leaky_relu.h"
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

// Odd, tiny, non-square, strided; the last ones are large enough for several threads.
const Case cases[] = {{2, 8, 3, 2, 8, 8},   {1, 16, 7, 5, 8, 0},     {3, 16, 4, 9, 16, 16},
                      {1, 32, 2, 2, 16, 0}, {2, 32, 27, 23, 16, 16}, {1, 24, 41, 37, 8, 8}};

Features strided(int n, int c, int h, int w, int block, int slack) {
    Features f = dense_features(n, c, h, w, block, Element::bf16);
    f.image_stride += std::int64_t(slack) * h * w;
    return f;
}

Array rounded(Array values) {
    for (double& v : values) v = reference::nearest_bfloat16(v);
    return values;
}

/// Numbers of bf16.
Array random_values(std::int64_t count, int seed) {
    std::mt19937 generator(static_cast<unsigned>(seed));
    std::uniform_real_distribution<float> uniform(-1, 1);
    Array values(count);
    for (double& v : values) v = uniform(generator);
    return rounded(values);
}

Array plus(Array a, const Array& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
}

FeatureBuffer filled(const Features& shape, const Array& values) {
    FeatureBuffer buffer(shape);
    buffer.set(values);
    return buffer;
}

/// ‖a − b‖₂/‖b‖₂
double relative_error(const Array& a, const Array& b) {
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return std::sqrt(difference / norm);
}

/// Whether each is the number of bf16 nearest to the exact one. That is computed in floats, from up to 17 numbers below 1,
/// and 1e-6 off; in the middle between two either is right.
bool nearest(const Array& found, const Array& exact) {
    for (std::size_t i = 0; i < found.size(); ++i) {
        const double half = std::ldexp(1.0, std::ilogb(exact[i]) - 8);
        if (!(std::abs(found[i] - exact[i]) <= half + 1e-6)) return false;
    }
    return found.size() == exact.size();
}

/// The same numbers, NaN for NaN.
bool same(const Array& a, const Array& b) {
    for (std::size_t i = 0; i < a.size(); ++i)
        if (!(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])))) return false;
    return a.size() == b.size();
}

void everywhere(const std::function<void()>& body) {
    for (const std::string& set : cpu::instruction_sets())
        for (const int threads : {1, 3}) {
            CAPTURE(set);
            CAPTURE(threads);
            const RunOn on(threads, set);
            body();
        }
}

void for_each_case(const std::function<void(const Case&)>& body) {
    everywhere([&] {
        for (const Case& k : cases) {
            CAPTURE(k.h);
            CAPTURE(k.w);
            CAPTURE(k.block);
            body(k);
        }
    });
}

constexpr Write writes[] = {Write::overwrite, Write::accumulate};

}  // namespace

TEST_CASE("bf16: stores round to the nearest, ties to even; infinities and NaN stay") {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const Features shape = dense_features(1, 16, 61, 67, 16, Element::bf16);
    Array d_y = random_values(shape.size(), 1);
    const Array special = {0.0,        infinity,    -infinity, std::numeric_limits<double>::quiet_NaN(),
                           0x1.FEp127, -0x1.FEp127, 0x1p-126,  0x1p-133,
                           -0x1p-130,  0x1.02p0,    -0x1.04p0, 0x1.FEp0};
    std::copy(special.begin(), special.end(), d_y.begin());
    // Products with these slopes lie in the middle between two numbers of bf16, above it and beyond the largest.
    for (const float slope : {1.00390625f, 0.501953125f, 0.3f, 1.5f}) {
        Array expected(d_y.size());
        for (std::size_t i = 0; i < d_y.size(); ++i)
            expected[i] = reference::nearest_bfloat16(double(slope * float(d_y[i])));
        everywhere([&] {
            const FeatureBuffer y = filled(shape, Array(d_y.size(), -1.0)), gradient = filled(shape, d_y);
            FeatureBuffer d_a(shape), d_bias = FeatureBuffer::vector(16);
            FeatureBuffer workspace =
                FeatureBuffer::vector(cpu::activation_gradient_workspace_bytes(shape) / sizeof(float));
            cpu::activation_gradient(y.view(), gradient.view(), d_a.view(), slope, d_bias.data(),
                                     Write::overwrite, workspace.data());
            CHECK(same(d_a.get(), expected));
            CHECK(d_a.intact());
        });
    }
}

TEST_CASE("bf16: the activation's gradient, its sums not rounded") {
    for_each_case([](const Case& k) {
        const Features shape = strided(k.n, k.c, k.h, k.w, k.block, k.slack);
        const Array y = random_values(shape.size(), 1), d_y = random_values(shape.size(), 2);
        Array d_a = d_y, sums(std::size_t(k.c), 0.0);
        for (std::size_t i = 0; i < d_a.size(); ++i) {
            if (y[i] <= 0) d_a[i] = double(0.1f * float(d_y[i]));
            sums[i / (std::size_t(k.h) * k.w) % k.c] += d_a[i];
        }
        const FeatureBuffer y_buffer = filled(shape, y), d_y_buffer = filled(shape, d_y);
        FeatureBuffer d_a_buffer(strided(k.n, k.c, k.h, k.w, k.block, 0)),
            d_bias = FeatureBuffer::vector(k.c);
        FeatureBuffer workspace =
            FeatureBuffer::vector(cpu::activation_gradient_workspace_bytes(shape) / sizeof(float));
        cpu::activation_gradient(y_buffer.view(), d_y_buffer.view(), d_a_buffer.view(), 0.1f, d_bias.data(),
                                 Write::overwrite, workspace.data());
        CHECK(d_a_buffer.get() == rounded(d_a));
        CHECK(relative_error(d_bias.get(), sums) < 1e-6);  // sums of floats, and one rounding to a float
        CHECK(d_a_buffer.intact());
        CHECK(d_bias.intact());
    });
}

TEST_CASE("bf16: max pooling and its gradient are exact") {
    for_each_case([](const Case& k) {
        const int planes = k.n * k.c, h2 = k.h / 2, w2 = k.w / 2;
        Array x = random_values(std::int64_t(planes) * k.h * k.w, 1);
        for (double& v : x) v = std::round(v * 2) / 2;  // few distinct values, so that windows have ties
        const Array d_y = random_values(std::int64_t(planes) * h2 * w2, 2);
        const FeatureBuffer x_buffer = filled(strided(k.n, k.c, k.h, k.w, k.block, k.slack), x);
        const FeatureBuffer d_y_buffer = filled(strided(k.n, k.c, h2, w2, k.block, 2 * k.slack), d_y);
        FeatureBuffer y(strided(k.n, k.c, h2, w2, k.block, k.slack));
        cpu::max_pool_forward(x_buffer.view(), y.view());
        CHECK(y.get() == reference::max_pool(x, planes, k.h, k.w));
        CHECK(y.intact());
        const Array d_x = reference::max_pool_backward(x, d_y, planes, k.h, k.w),
                    old = random_values(std::int64_t(x.size()), 3);
        for (const Write write : writes) {
            FeatureBuffer to = filled(strided(k.n, k.c, k.h, k.w, k.block, 3 * k.slack), old);
            cpu::max_pool_backward(x_buffer.view(), d_y_buffer.view(), to.view(), write);
            CHECK(to.get() == (write == Write::overwrite ? d_x : rounded(plus(old, d_x))));
            CHECK(to.intact());
        }
    });
}

TEST_CASE("bf16: upsampling and its gradient, rounded once") {
    for_each_case([](const Case& k) {
        const int planes = k.n * k.c;
        const Array x = random_values(std::int64_t(planes) * k.h * k.w, 1),
                    d_y = random_values(4 * std::int64_t(x.size()), 2);
        const FeatureBuffer x_buffer = filled(strided(k.n, k.c, k.h, k.w, k.block, k.slack), x);
        const FeatureBuffer d_y_buffer = filled(strided(k.n, k.c, 2 * k.h, 2 * k.w, k.block, k.slack), d_y);
        FeatureBuffer y(strided(k.n, k.c, 2 * k.h, 2 * k.w, k.block, 2 * k.slack));
        cpu::upsample_forward(x_buffer.view(), y.view());
        CHECK(nearest(y.get(), reference::upsample(x, planes, k.h, k.w)));
        CHECK(y.intact());
        const Array d_x = reference::upsample_backward(d_y, planes, k.h, k.w),
                    old = random_values(std::int64_t(x.size()), 3);
        for (const Write write : writes) {
            FeatureBuffer to = filled(strided(k.n, k.c, k.h, k.w, k.block, 0), old);
            cpu::upsample_backward(d_y_buffer.view(), to.view(), write);
            CHECK(nearest(to.get(), write == Write::overwrite ? d_x : plus(old, d_x)));
            CHECK(to.intact());
        }
    });
}

TEST_CASE("bf16: filled, and refused where kernels know floats alone") {
    FeatureBuffer a(strided(2, 16, 3, 5, 16, 16)), b(strided(2, 16, 3, 5, 16, 16));
    cpu::fill(a.view(), 0.3f);
    CHECK(a.get() == Array(a.get().size(), reference::nearest_bfloat16(0.3f)));
    CHECK(a.intact());
    double sums[2];
    CHECK_THROWS_AS(cpu::copy(a.view(), b.view()), Error);
    CHECK_THROWS_AS(cpu::axpy(1.0f, a.view(), b.view()), Error);
    CHECK_THROWS_AS(cpu::dot(a.view(), b.view(), sums), Error);
    CHECK_THROWS_AS(cpu::add(a.view(), a.view(), b.view()), Error);
    CHECK_THROWS_AS(cpu::leaky_relu_forward(a.view(), b.view(), 0.1f), Error);
    CHECK_THROWS_AS(cpu::leaky_relu_backward(a.view(), a.view(), b.view(), 0.1f, Write::overwrite), Error);
    // One of each element.
    FeatureBuffer wide(2, 16, 3, 5, 16);
    CHECK_THROWS_AS(cpu::copy(wide.view(), b.view()), Error);
}
