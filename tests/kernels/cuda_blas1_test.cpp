// Copies, sums and inner products on CUDA: the CPU's bits, at any address and stride.
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/layers/blas1.h"
#include "tests/support/device_buffer.h"

using namespace tvmap;

namespace {

using Doubles = std::vector<double>;

struct Case {
    int n, c, h, w, slack, offset;
    std::int64_t size() const { return std::int64_t(n) * c * h * w; }
    Features shape() const { return dense_features(n, c, h, w, 1); }
};

// One value; odd; quads at addresses that suit them and that do not; an image that clusters of blocks sum, with a rest
// in every part.
const Case cases[] = {
    {1, 1, 1, 1, 0, 0}, {3, 5, 7, 9, 2, 0}, {2, 4, 8, 8, 1, 0}, {2, 3, 8, 12, 0, 3}, {2, 3, 67, 61, 1, 1}};

/// Values on both sides: numbers on the host as the CPU takes them, and in device memory between sentinels.
struct Pair {
    std::vector<float> host;
    DeviceFeatures device;
    Features shape;

    Pair(const Case& k, unsigned seed, int slack)
        : device(k.n, k.c, k.h, k.w, slack, k.offset), shape(k.shape()) {
        std::mt19937 generator(seed);
        std::uniform_real_distribution<float> uniform(-1, 1);
        host.resize(std::size_t(k.size()));
        for (float& v : host) v = uniform(generator);
        device.set(Doubles(host.begin(), host.end()));
    }
    View view() { return {host.data(), shape}; }
    Comparison same() const { return compared_bits(device.get(), Doubles(host.begin(), host.end())); }
};

}  // namespace

TEST_CASE("copies, constants and y + a·x are the CPU's") {
    for (const Case& k : cases) {
        CAPTURE(k.size());
        Pair x(k, 1, k.slack), y(k, 2, 2 * k.slack);
        cpu::axpy(0.7f, x.view(), y.view());
        cuda::axpy(test_stream(), 0.7f, x.device.view(), y.device.view());
        CHECK(y.same());
        cpu::axpy(0.7f, x.view(), x.view());
        cuda::axpy(test_stream(), 0.7f, x.device.view(), x.device.view());
        CHECK(x.same());
        cpu::copy(x.view(), y.view());
        cuda::copy(test_stream(), x.device.view(), y.device.view());
        CHECK(y.same());
        cpu::fill(x.view(), -0.3f);
        cuda::fill(test_stream(), x.device.view(), -0.3f);
        CHECK(x.same());
        CHECK(x.device.intact());
        CHECK(y.device.intact());
    }
}

TEST_CASE("inner products are the CPU's to the bit") {
    for (const Case& k : cases) {
        CAPTURE(k.size());
        Pair x(k, 3, k.slack), y(k, 4, 2 * k.slack);
        std::vector<double> sums(std::size_t(k.n)), squares(std::size_t(k.n));
        cpu::dot(x.view(), y.view(), sums.data());
        cpu::dot(y.view(), y.view(), squares.data());
        const DeviceBuffer<double> on_device(k.n), on_device_squares(k.n);
        cuda::dot(test_stream(), x.device.view(), y.device.view(), on_device.data());
        cuda::dot(test_stream(), y.device.view(), y.device.view(), on_device_squares.data());
        CHECK(compared_bits(on_device.download(), sums));
        CHECK(compared_bits(on_device_squares.download(), squares));
        CHECK(on_device.intact());
    }
}

TEST_CASE("other shapes are refused, and so are blocks of channels") {
    DeviceFeatures x(1, 16, 3, 4), y(1, 16, 4, 3);
    const gpu::Stream stream = test_stream();
    CHECK_THROWS_AS(cuda::copy(stream, x.view(), y.view()), Error);
    CHECK_THROWS_AS(cuda::axpy(stream, 1, x.view(), y.view()), Error);
    CHECK_THROWS_AS(cuda::dot(stream, x.view(), y.view(), nullptr), Error);
    View blocked = x.view();
    blocked.shape.block = 16;
    CHECK_THROWS_WITH_AS(
        cuda::copy(stream, blocked, blocked),
        "copy: a tensor is 1×16×3×4 in blocks of 16, on CUDA it must be planar (blocks of 1)", Error);
}
