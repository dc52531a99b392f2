// The emulation itself: kernels compute what CUDA promises, and a barrier or a wait that is missing shows.
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

// ---- threads and blocks ----

__global__ void number_trial(int* visits, unsigned* indices) {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
    ++visits[i];
    indices[i] = threadIdx.x + 8 * threadIdx.y + 64 * threadIdx.z + 512 * blockIdx.x + 4096 * blockIdx.y +
                 32768 * blockIdx.z;
}

TEST_CASE("every thread of every block runs once and knows its place") {
    const dim3 grid(3, 2, 4), block(5, 3, 2);
    const int threads = 24 * 30;
    CHECK(right([&] {
              DeviceBuffer<int> visits(zeros(threads));
              DeviceBuffer<unsigned> indices(threads);
              gpu::launch(test_stream(), {.name = "number_trial", .grid = grid, .block = block}, number_trial,
                          visits.data(), indices.data());
              std::vector<unsigned> expected;
              for (unsigned b = 0; b < 24; ++b)
                  for (unsigned t = 0; t < 30; ++t)
                      expected.push_back(t % 5 + 8 * (t / 5 % 3) + 64 * (t / 15) + 512 * (b % 3) +
                                         4096 * (b / 3 % 2) + 32768 * (b / 6));
              return compared_bits(visits.download(), std::vector<int>(threads, 1)) &&
                     compared_bits(indices.download(), expected) && visits.intact() && indices.intact();
          }) == every_seed);
}

// ---- barriers ----

template <bool barrier>
__global__ void reverse_trial(int* values) {
    int* shared = gpu::shared_memory<int>();
    shared[threadIdx.x] = values[threadIdx.x];
    if (barrier) __syncthreads();
    values[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

template <bool barrier>
bool reverses() {
    DeviceBuffer<int> values(ascending(100));
    gpu::launch(test_stream(), {.name = "reverse_trial", .block = 100, .shared_bytes = 400},
                reverse_trial<barrier>, values.data());
    std::vector<int> expected = ascending(100);
    std::reverse(expected.begin(), expected.end());
    return compared_bits(values.download(), expected);
}

TEST_CASE("a barrier lets a block exchange values, its lack shows") {
    CHECK(right(reverses<true>) == every_seed);
    CHECK(right(reverses<false>) == 0);
}

/// A sum in log₂ steps; without the barrier at their end a step reads what the last one has not written yet.
template <bool barrier>
__global__ void tree_trial(int* sum) {
    int* shared = gpu::shared_memory<int>();
    shared[threadIdx.x] = int(threadIdx.x);
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        if (barrier) __syncthreads();
    }
    if (threadIdx.x == 0) *sum = shared[0];
}

template <bool barrier>
bool sums() {
    DeviceBuffer<int> sum(1);
    gpu::launch(test_stream(), {.name = "tree_trial", .block = 64, .shared_bytes = 256}, tree_trial<barrier>,
                sum.data());
    return compared_bits(sum.download(), {64 * 63 / 2});
}

TEST_CASE("a barrier that is missing in a loop shows") {
    CHECK(right(sums<true>) == every_seed);
    CHECK(right(sums<false>) < every_seed / 2);
}

/// The first `leaving` threads return; the rest vote on whether their index is below `bound`.
__global__ void vote_trial(int leaving, int bound, int* votes) {
    const int t = int(threadIdx.x);
    if (t < leaving) return;
    const int count = __syncthreads_count(t < bound), any = __syncthreads_or(t < bound),
              all = __syncthreads_and(t < bound);
    votes[t] = count + 1000 * any + 2000 * all;
}

TEST_CASE("a block's votes count the threads that have not returned") {
    for (const int leaving : {0, 1, 33, 79})
        for (const int bound : {0, 50, 80}) {
            const bool right_always = right([&] {
                                          DeviceBuffer<int> votes(zeros(80));
                                          gpu::launch(test_stream(), {.name = "vote_trial", .block = 80},
                                                      vote_trial, leaving, bound, votes.data());
                                          const int count = std::max(0, bound - leaving);
                                          const int vote =
                                              count + 1000 * (count > 0) + 2000 * (count == 80 - leaving);
                                          std::vector<int> expected = zeros(80);
                                          std::fill(expected.begin() + leaving, expected.end(), vote);
                                          return compared_bits(votes.download(), expected);
                                      }) == every_seed;
            CAPTURE(leaving);
            CAPTURE(bound);
            CHECK(right_always);
        }
}

// ---- clusters ----

/// Hands values round the cluster through each other's shared memory: after `steps`, a block has those of the
/// block that is so many ranks behind.
template <bool barrier>
__global__ void ring_trial(unsigned blocks, int steps, int* values) {
    int* shared = gpu::shared_memory<int>();  // two generations
    const unsigned rank = gpu::cluster_rank(), t = threadIdx.x, n = blockDim.x, i = blockIdx.x * n + t;
    shared[t] = values[i];
    gpu::cluster_barrier();
    for (int step = 0; step < steps; ++step) {
        int* next = gpu::cluster_shared(shared + (step + 1) % 2 * int(n), (rank + 1) % blocks);
        next[n - 1 - t] = shared[step % 2 * int(n) + int(t)];  // mirrored: other threads will read it
        if (barrier) gpu::cluster_barrier();
    }
    values[i] = shared[steps % 2 * int(n) + int(t)];
    gpu::cluster_barrier();  // nobody leaves while others may still write here
}

template <bool barrier>
bool goes_round() {
    constexpr unsigned clusters = 3, blocks = 4, threads = 32;
    constexpr int steps = 6, count = clusters * blocks * threads;
    DeviceBuffer<int> values(ascending(count));
    gpu::launch(test_stream(),
                {.name = "ring_trial",
                 .grid = clusters * blocks,
                 .block = threads,
                 .cluster = blocks,
                 .shared_bytes = 2 * threads * sizeof(int)},
                ring_trial<barrier>, blocks, steps, values.data());
    std::vector<int> expected = zeros(count);
    for (unsigned b = 0; b < clusters * blocks; ++b)
        for (unsigned t = 0; t < threads; ++t) {
            const unsigned to = b / blocks * blocks + (b + steps) % blocks;
            expected[to * threads + t] = int(b * threads + t);  // six mirrors: as it was
        }
    return compared_bits(values.download(), expected);
}

TEST_CASE("a cluster's blocks reach each other's shared memory, a missing barrier shows") {
    CHECK(right(goes_round<true>) == every_seed);
    CHECK(right(goes_round<false>) == 0);
}

__global__ void reach_trial(unsigned rank, std::ptrdiff_t offset, bool stay) {
    int* shared = gpu::shared_memory<int>();
    if (gpu::cluster_rank() == 1 && !stay) return;
    for (int i = 0; !stay && i < 20; ++i) gpu::pause();  // the other block has gone
    gpu::cluster_shared(shared + offset, rank);
}

TEST_CASE("a cluster's shared memory has limits") {
    const gpu::Launch how = {
        .name = "reach_trial", .grid = 2, .block = 32, .cluster = 2, .shared_bytes = 128};
    const auto reach = [&](unsigned rank, std::ptrdiff_t offset, bool stay) {
        return error([&] { gpu::launch(test_stream(), how, reach_trial, rank, offset, stay); });
    };
    CHECK(reach(1, 31, true) == "");
    CHECK(contains(reach(1, 31, false), "which has returned"));
    CHECK(contains(reach(2, 0, true), "rank 2 in a cluster of 2"));
    CHECK(contains(reach(0, 33, true), "not in the block's shared memory"));
}

// ---- flags between blocks ----

enum class Fault { none, no_wait, no_barrier_before_flag, flag_before_data };

/// Each block owns n values of a ring and adds to each, `steps` times, its mirror image in the block before:
/// a halo exchange with one flag per block. Two generations: who is at step s+1 has seen the other's at step
/// s, and s+2 overwrites s only when the reader's own flag says that it has gone on.
template <Fault fault>
__global__ void halo_trial(int steps, unsigned* flags, int* generations) {
    const unsigned blocks = gridDim.x, b = blockIdx.x, before = (b + blocks - 1) % blocks,
                   after = (b + 1) % blocks, n = blockDim.x, t = threadIdx.x, all = blocks * n;
    int own = generations[b * n + t];
    for (unsigned step = 0; step < unsigned(steps); ++step) {
        if (fault != Fault::no_wait) {
            if (t == 0) {
                while (gpu::load_acquire(&flags[before]) < step) gpu::pause();
                while (gpu::load_acquire(&flags[after]) < step) gpu::pause();
            }
            __syncthreads();
        }
        own = (own + generations[step % 2 * all + before * n + n - 1 - t]) % 10007;
        if (fault == Fault::flag_before_data && t == 0) gpu::store_release(&flags[b], step + 1);
        generations[(step + 1) % 2 * all + b * n + t] = own;
        if (fault != Fault::no_barrier_before_flag) __syncthreads();
        if (fault != Fault::flag_before_data && t == 0) gpu::store_release(&flags[b], step + 1);
    }
}

template <Fault fault>
bool halos() {
    constexpr unsigned blocks = 5, n = 32, all = blocks * n;
    constexpr int steps = 9;
    std::vector<int> now = ascending(all);
    DeviceBuffer<unsigned> flags(std::vector<unsigned>(blocks, 0u));
    DeviceBuffer<int> generations(2 * all);
    std::vector<int> start = now;
    start.resize(2 * all, -1);
    generations.upload(start);
    gpu::launch(test_stream(), {.name = "halo_trial", .grid = blocks, .block = n, .cooperative = true},
                halo_trial<fault>, steps, flags.data(), generations.data());
    for (int step = 0; step < steps; ++step) {
        const std::vector<int> last = now;
        for (unsigned b = 0; b < blocks; ++b)
            for (unsigned t = 0; t < n; ++t)
                now[b * n + t] = (last[b * n + t] + last[(b + blocks - 1) % blocks * n + n - 1 - t]) % 10007;
    }
    std::vector<int> result = generations.download();
    result.erase(result.begin(), result.begin() + all);  // nine steps: the second half
    return compared_bits(result, now);
}

TEST_CASE("blocks exchange halos by flags, each way to get it wrong shows") {
    CHECK(right(halos<Fault::none>) == every_seed);
    CHECK(right(halos<Fault::no_wait>) == 0);
    CHECK(right(halos<Fault::no_barrier_before_flag>) < every_seed / 2);
    CHECK(right(halos<Fault::flag_before_data>) < every_seed / 2);
}

/// In place, what a block reads may be what another has written already.
__global__ void smooth_trial(const int* before, int* after) {
    const unsigned t = threadIdx.x, start = blockIdx.x * blockDim.x, count = gridDim.x * blockDim.x;
    const int next = before[(start + t + 1) % count];
    __syncthreads();
    after[start + t] = next;
}

TEST_CASE("blocks of an ordinary launch that depend on each other show") {
    const auto shifts = [](bool in_place) {
        DeviceBuffer<int> before(ascending(6 * 32)), after(6 * 32);
        int* target = in_place ? before.data() : after.data();
        gpu::launch(test_stream(), {.name = "smooth_trial", .grid = 6, .block = 32}, smooth_trial,
                    before.data(), target);
        std::vector<int> expected = ascending(6 * 32);
        std::rotate(expected.begin(), expected.begin() + 1, expected.end());
        return compared_bits((in_place ? before : after).download(), expected);
    };
    CHECK(right([&] { return shifts(false); }) == every_seed);
    CHECK(right([&] { return shifts(true); }) == 0);
}

/// Blocks count without atomics: in whatever order whole blocks run, the sum is right.
__global__ void tally_trial(int* total) {
    const int seen = *total;
    __syncthreads();
    *total = seen + 1;
}

TEST_CASE("blocks of an ordinary launch also run side by side") {
    CHECK(right([] {
              DeviceBuffer<int> total(zeros(1));
              gpu::launch(test_stream(), {.name = "tally_trial", .grid = 16, .block = 2}, tally_trial,
                          total.data());
              return compared_bits(total.download(), {16});
          }) < every_seed);
}

// ---- atomics ----

/// Each block sums its values; the one that comes last, by a counter, adds up the sums.
__global__ void total_trial(const int* values, int* sums, unsigned* done, int* total, int* largest) {
    int* shared = gpu::shared_memory<int>();
    if (threadIdx.x == 0) *shared = 0;
    __syncthreads();
    const int value = values[blockIdx.x * blockDim.x + threadIdx.x];
    atomicAdd(shared, value);
    atomicMax(largest, value);
    __syncthreads();
    if (threadIdx.x != 0) return;
    sums[blockIdx.x] = *shared;
    __threadfence();
    if (atomicAdd(done, 1u) != gridDim.x - 1) return;
    int sum = 0;
    for (unsigned b = 0; b < gridDim.x; ++b) sum += sums[b];
    *total = sum;
}

__global__ void atomics_trial(int* v, unsigned* u, unsigned long long* wide) {
    atomicSub(&v[0], 2);
    atomicMin(&v[1], 5 - int(threadIdx.x));
    atomicOr(&u[0], 1u << threadIdx.x);
    atomicAnd(&u[1], ~(1u << threadIdx.x));
    atomicAdd(&u[2], 0xffffffffu);  // wraps round
    atomicAdd(wide, 1ull << 40);
    while (atomicCAS(&u[3], 0u, 1u) != 0) gpu::pause();  // a lock
    const int seen = v[2];
    gpu::pause();
    v[2] = seen + 1;
    atomicExch(&u[3], 0u);
}

TEST_CASE("atomics") {
    CHECK(right([&] {
              DeviceBuffer<int> values(ascending(8 * 32)), sums(8), total(1), largest(zeros(1));
              DeviceBuffer<unsigned> done(std::vector<unsigned>{0});
              gpu::launch(test_stream(),
                          {.name = "total_trial", .grid = 8, .block = 32, .shared_bytes = sizeof(int)},
                          total_trial, values.data(), sums.data(), done.data(), total.data(), largest.data());
              return compared_bits(total.download(), {256 * 255 / 2}) &&
                     compared_bits(largest.download(), {255});
          }) == every_seed);
    CHECK(right([&] {
              DeviceBuffer<int> v(zeros(3));
              DeviceBuffer<unsigned> u(std::vector<unsigned>{0, ~0u, 32, 0});
              DeviceBuffer<unsigned long long> wide(std::vector<unsigned long long>{0});
              gpu::launch(test_stream(), {.name = "atomics_trial", .block = 16}, atomics_trial, v.data(),
                          u.data(), wide.data());
              return compared_bits(v.download(), {-32, -10, 16}) &&
                     compared_bits(u.download(), {0xffffu, 0xffff0000u, 16u, 0u}) &&
                     compared_bits(wide.download(), {16ull << 40});
          }) == every_seed);
}

}  // namespace
