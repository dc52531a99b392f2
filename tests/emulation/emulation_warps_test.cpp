// The emulation's warps: shuffles, votes and barriers of a warp compute what CUDA promises, and one that is missing shows.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/gpu/gpu.h"
#include "tests/support/device_buffer.h"
#include "tests/support/emulated_trial.h"

using namespace tvmap;

namespace {

std::vector<int> zeros(int count) { return std::vector<int>(std::size_t(count)); }
std::vector<int> ascending(int count) {
    std::vector<int> values = zeros(count);
    std::iota(values.begin(), values.end(), 0);
    return values;
}

// ---- warps ----

__global__ void shuffle_trial(int width, int* from, int* up, int* down, int* exchanged) {
    const int t = int(threadIdx.x);
    from[t] = __shfl_sync(~0u, t, 5, width);
    up[t] = __shfl_up_sync(~0u, t, 3u, width);
    down[t] = __shfl_down_sync(~0u, t, 2u, width);
    exchanged[t] = int(__shfl_xor_sync(~0u, double(t), 5, width));
}

TEST_CASE("shuffles stay within segments of the warp") {
    constexpr int threads = 64;
    for (const int width : {32, 16, 8}) {
        std::vector<int> from, up, down, exchanged;
        for (int t = 0; t < threads; ++t) {
            const int start = t / width * width;
            from.push_back(start + 5);
            up.push_back(t - 3 >= start ? t - 3 : t);
            down.push_back(t + 2 < start + width ? t + 2 : t);
            exchanged.push_back(t ^ 5);
        }
        CAPTURE(width);
        CHECK(right([&] {
                  DeviceBuffer<int> a(threads), b(threads), c(threads), d(threads);
                  gpu::launch(test_stream(), {.name = "shuffle_trial", .block = threads}, shuffle_trial,
                              width, a.data(), b.data(), c.data(), d.data());
                  return compared_bits(a.download(), from) && compared_bits(b.download(), up) &&
                         compared_bits(c.download(), down) && compared_bits(d.download(), exchanged);
              }) == every_seed);
    }
}

/// Lane 3 leaves first; 40 threads make one whole warp and a quarter.
__global__ void ballot_trial(unsigned* ballots, int* any_all, float* from_three) {
    const unsigned t = threadIdx.x;
    if (t == 3) return;
    ballots[t] = __ballot_sync(~0u, t % 2);
    any_all[t] = __any_sync(~0u, t == 7) + 2 * __all_sync(~0u, t != 38);
    from_three[t] = __shfl_sync(~0u, 1.0f, 3);
    if (t < 16) ballots[t] |= __ballot_sync(0xffff, 1) << 16;  // half a warp
}

TEST_CASE("votes of a warp, and what a lane that is gone gives") {
    emulation::set_seed(2);
    DeviceBuffer<unsigned> ballots(std::vector<unsigned>(40, 0u));
    DeviceBuffer<int> any_all(zeros(40));
    DeviceBuffer<float> from_three(40);
    gpu::launch(test_stream(), {.name = "ballot_trial", .block = 40}, ballot_trial, ballots.data(),
                any_all.data(), from_three.data());
    std::vector<unsigned> expected;
    std::vector<int> expected_any_all;
    for (unsigned t = 0; t < 40; ++t) {
        const unsigned odd = t < 32 ? 0xaaaaaaa2u : 0xaau;
        expected.push_back(t == 3 ? 0 : t < 16 ? odd | 0xfff7u << 16 : odd);
        expected_any_all.push_back(t == 3 ? 0 : t < 32 ? 3 : 0);
    }
    CHECK(compared_bits(ballots.download(), expected));
    CHECK(compared_bits(any_all.download(), expected_any_all));
    const std::vector<float> received = from_three.download();
    CHECK(std::isnan(received[0]));  // the lane has returned
    CHECK(received[35] == 1.0f);     // the second warp's lane 3 is there
    emulation::set_seed(1);
}

template <bool barrier>
__global__ void neighbour_trial(int* values) {
    int* shared = gpu::shared_memory<int>();
    shared[threadIdx.x] = int(threadIdx.x);
    if (barrier) __syncwarp();
    values[threadIdx.x] = shared[threadIdx.x ^ 1];
}

template <bool barrier>
bool neighbours() {
    DeviceBuffer<int> values(64);
    gpu::launch(test_stream(), {.name = "neighbour_trial", .block = 64, .shared_bytes = 256},
                neighbour_trial<barrier>, values.data());
    std::vector<int> expected = ascending(64);
    for (int& v : expected) v ^= 1;
    return compared_bits(values.download(), expected);
}

TEST_CASE("a missing __syncwarp shows") {
    CHECK(right(neighbours<true>) == every_seed);
    CHECK(right(neighbours<false>) == 0);
}

}  // namespace
