// The checker itself: small kernels that are right must pass, and those that lack an order must be reported,
// whatever order their threads ran in. Instrumented, as kernels are.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/gpu/gpu.h"
#include "kernels/gpu/gpu_mailbox.h"
#include "tests/happens_before/checker.h"
#include "tests/support/device_buffer.h"

using namespace tvmap;
namespace order = tvmap::emulation::order;

namespace {

using Trial = void (*)(int* values, unsigned* flags);

const gpu::Launch one_block = {.name = "trial", .block = 64};
const gpu::Launch four_blocks = {.name = "trial", .grid = 4, .block = 64};

constexpr unsigned orders = 4;  // the natural one among them
std::string said;               // about the last trial

/// Under how many orders of the threads a race is reported, or a misuse.
unsigned reported(gpu::Launch how, Trial trial) {
    how.shared_bytes = 1024;
    unsigned count = 0;
    said.clear();
    for (unsigned seed = 0; seed < orders; ++seed) {
        emulation::set_seed(seed);
        std::vector<int> start(1024);
        std::iota(start.begin(), start.end(), 0);
        const DeviceBuffer<int> values(start);
        const DeviceBuffer<unsigned> flags(std::vector<unsigned>(4, 0u));
        const happens_before::Checker checker;
        std::string found;
        try {
            gpu::launch(test_stream(), how, trial, values.data(), flags.data());
        } catch (const Error& error) {  // the emulation's own report
            found = error.what();
        }
        REQUIRE(checker.accesses() > 0);
        found += checker.races();
        count += !found.empty();
        said += found;
    }
    emulation::set_seed(1);
    return count;
}
bool says(const std::string& part) { return said.find(part) != std::string::npos; }

// ---- blocks ----

template <bool barrier>
__global__ void reverse_trial(int* values, unsigned*) {
    int* shared = gpu::shared_memory<int>();
    shared[threadIdx.x] = values[threadIdx.x];
    if (barrier) __syncthreads();
    values[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

/// The votes are barriers too; without the last one, values are replaced that others still read.
template <bool barrier>
__global__ void shift_trial(int* values, unsigned*) {
    const unsigned next = (threadIdx.x + 1) % blockDim.x;
    const int seen = values[next];
    const int any = barrier ? __syncthreads_or(seen > 3) : 1;
    values[threadIdx.x] = seen * any;
}

template <bool barrier>
__global__ void copy_trial(int* values, unsigned*) {
    int* shared = gpu::shared_memory<int>();
    if (threadIdx.x == 0) std::memcpy(shared, values, blockDim.x * sizeof(int));
    if (barrier) __syncthreads();
    values[blockDim.x + threadIdx.x] = shared[threadIdx.x];
}

/// Bytes of a word are apart.
template <bool own>
__global__ void byte_trial(int* values, unsigned*) {
    auto* bytes = reinterpret_cast<unsigned char*>(values);
    bytes[threadIdx.x] = static_cast<unsigned char>(bytes[threadIdx.x ^ (own ? 0 : 1)] + 1);
}

/// A warp writes and returns; nothing tells the other that it has.
__global__ void return_trial(int* values, unsigned*) {
    if (threadIdx.x < 32) {
        values[threadIdx.x] = 1;
        return;
    }
    __syncthreads();
    values[threadIdx.x] = values[threadIdx.x - 32];
}

/// Blocks of one launch, each value read by one and written by another.
template <bool in_place>
__global__ void ordinary_trial(int* values, unsigned*) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, count = gridDim.x * blockDim.x;
    const int next = values[(i + 1) % count];
    __syncthreads();
    values[in_place ? i : count + i] = next;
}

TEST_CASE("barriers order what a block does") {
    CHECK(reported(one_block, reverse_trial<true>) == 0);
    CHECK(reported(one_block, reverse_trial<false>) == orders);
    CHECK(says(" of the shared memory of block 0"));
    CHECK(reported(one_block, shift_trial<true>) == 0);
    CHECK(reported(one_block, shift_trial<false>) == orders);
    CHECK(reported(one_block, copy_trial<true>) == 0);
    CHECK(reported(one_block, copy_trial<false>) == orders);
    CHECK(reported(one_block, byte_trial<true>) == 0);
    CHECK(reported(one_block, byte_trial<false>) == orders);
    CHECK(says("bytes 256 to 256 of 4608 bytes of global memory"));
    CHECK(reported(one_block, return_trial) == orders);
    CHECK(reported(four_blocks, ordinary_trial<false>) == 0);
    CHECK(reported(four_blocks, ordinary_trial<true>) == orders);
    CHECK(says("thread 63 of block "));
}

// ---- warps ----

enum class Meet { barrier, half, shuffle, vote };

template <Meet meet, unsigned distance>
__global__ void neighbour_trial(int* values, unsigned*) {
    int* shared = gpu::shared_memory<int>();
    shared[threadIdx.x] = int(threadIdx.x);
    if (meet == Meet::barrier) __syncwarp();
    if (meet == Meet::half) __syncwarp(threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u);
    if (meet == Meet::shuffle) __shfl_xor_sync(~0u, 1, int(distance));
    if (meet == Meet::vote) __ballot_sync(~0u, 1);
    values[threadIdx.x] = shared[threadIdx.x ^ distance];
}

TEST_CASE("of what lanes do together, __syncwarp alone orders, and only those in its mask") {
    CHECK(reported(one_block, neighbour_trial<Meet::barrier, 1>) == 0);
    CHECK(reported(one_block, neighbour_trial<Meet::barrier, 16>) == 0);
    CHECK(reported(one_block, neighbour_trial<Meet::barrier, 32>) == orders);
    CHECK(reported(one_block, neighbour_trial<Meet::half, 1>) == 0);
    CHECK(reported(one_block, neighbour_trial<Meet::half, 16>) == orders);
    CHECK(reported(one_block, neighbour_trial<Meet::shuffle, 1>) == orders);
    CHECK(reported(one_block, neighbour_trial<Meet::vote, 1>) == orders);
}

// ---- clusters ----

template <bool cluster>
__global__ void cluster_trial(int* values, unsigned*) {
    int* shared = gpu::shared_memory<int>();
    int* next = gpu::cluster_shared(shared, (gpu::cluster_rank() + 1) % 4);
    gpu::cluster_barrier();  // all blocks have started
    next[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
    if (cluster) gpu::cluster_barrier();
    if (!cluster) __syncthreads();
    values[blockIdx.x * blockDim.x + threadIdx.x] = shared[threadIdx.x];
    gpu::cluster_barrier();
}

/// Reads what lies in the other block, whatever that is.
template <bool barrier_before, bool barrier_after>
__global__ void lifetime_trial(int* values, unsigned*) {
    const int* other = gpu::cluster_shared(gpu::shared_memory<int>(), gpu::cluster_rank() ^ 1);
    if (barrier_before) gpu::cluster_barrier();
    values[blockIdx.x * blockDim.x + threadIdx.x] = other[threadIdx.x];
    if (barrier_after) gpu::cluster_barrier();
}

TEST_CASE("cluster barriers order what a cluster does, and a block's shared memory lives as long as it") {
    const gpu::Launch four = {.name = "trial", .grid = 8, .block = 32, .cluster = 4};
    CHECK(reported(four, cluster_trial<true>) == 0);
    CHECK(reported(four, cluster_trial<false>) == orders);
    const gpu::Launch two = {.name = "trial", .grid = 4, .block = 32, .cluster = 2};
    CHECK(reported(two, lifetime_trial<true, true>) == 0);
    CHECK(reported(two, lifetime_trial<false, true>) == orders);
    CHECK(says("which may not have started"));
    CHECK(reported(two, lifetime_trial<true, false>) == orders);
    CHECK(says("whose threads may have returned by then"));
}

// ---- messages ----

enum class Mail {
    right,
    no_wait,
    earlier_phase,
    no_barrier_before,
    sends_before_reading,
    sends_what_nobody_awaits
};

/// Two blocks take turns: in each of three rounds block 0 sends a row, which block 1 adds to what it has and
/// sends back.
template <Mail way>
__global__ void mail_trial(int* values, unsigned*) {
    float* row = gpu::shared_memory<float>();
    auto* mailbox = reinterpret_cast<gpu::Mailbox*>(row + blockDim.x);
    const unsigned t = threadIdx.x, rank = gpu::cluster_rank(), bytes = blockDim.x * unsigned(sizeof(float));
    if (t == 0) {
        gpu::open(mailbox);
        gpu::expect(mailbox, bytes);
    }
    const gpu::Destination other = gpu::destination(row + t, mailbox, rank ^ 1);
    if (way == Mail::no_barrier_before) __syncthreads();
    if (way != Mail::no_barrier_before) gpu::cluster_barrier();
    float sum = float(values[blockIdx.x * blockDim.x + t]);
    const auto receive = [&](unsigned round) {
        const bool early = way == Mail::earlier_phase && round > 0;
        if (way != Mail::no_wait || round != 2) gpu::receive(mailbox, round - early, "mail_trial");
        if (t == 0 && (!early || round != 1)) gpu::expect(mailbox, bytes);
        sum += row[t];
    };
    for (unsigned round = 0; round < 3; ++round) {
        if (rank == 1 && way == Mail::sends_before_reading) gpu::send(other, sum);
        if (rank == 1) receive(round);
        if (rank == 0 || way != Mail::sends_before_reading) gpu::send(other, sum);
        if (rank == 0 && (way != Mail::sends_what_nobody_awaits || round < 2)) receive(round);
    }
    values[blockIdx.x * blockDim.x + t] = int(sum);
    gpu::cluster_barrier();  // which waits for no message
}

TEST_CASE("messages order by the phase they arrive in, each way to get it wrong is reported") {
    const gpu::Launch two = {.name = "trial", .grid = 4, .block = 32, .cluster = 2};
    CHECK(reported(two, mail_trial<Mail::right>) == 0);
    for (const Trial wrong : {mail_trial<Mail::no_wait>, mail_trial<Mail::earlier_phase>,
                              mail_trial<Mail::sends_before_reading>}) {
        CHECK(reported(two, wrong) == orders);
        CHECK(says("an operation of thread "));
        CHECK(says(" of the shared memory of block "));
    }
    CHECK(reported(two, mail_trial<Mail::no_barrier_before>) == orders);
    CHECK(says("which may not have started"));
    CHECK(reported(two, mail_trial<Mail::sends_what_nobody_awaits>) == orders);
    CHECK(says("whose threads may have returned by then"));
}

// ---- flags, atomics, fences ----

enum class Flag {
    right,
    raised_early,
    plain_store,
    relaxed_store,
    plain_load,
    relaxed_load,
    no_wait,
    no_barrier
};

/// Block 0 hands values to block 1.
template <Flag way>
__global__ void flag_trial(int* values, unsigned* flag) {
    const unsigned t = threadIdx.x;
    volatile unsigned* strong_flag = flag;
    if (blockIdx.x == 0) {
        if (way == Flag::raised_early && t == 0) gpu::store_release(flag, 1);
        values[t] = 1;
        __syncthreads();
        if (t != 0 || way == Flag::raised_early) return;
        if (way == Flag::plain_store) {
            *flag = 1;
        } else if (way == Flag::relaxed_store) {
            *strong_flag = 1;
        } else {
            gpu::store_release(flag, 1);
        }
    } else {
        if (t == 0) {
            if (way == Flag::plain_load) {
                while (*flag == 0) gpu::pause();
            } else if (way == Flag::relaxed_load) {
                while (*strong_flag == 0) gpu::pause();
            } else if (way != Flag::no_wait) {
                gpu::wait_until(flag, 1, "flag_trial");
            }
        }
        if (way != Flag::no_barrier) __syncthreads();
        values[blockDim.x + t] = values[blockDim.x - 1 - t];
    }
}

/// Block 0 raises the flag to 1, block 1 to 2, and block 2, which acquires that, reads what block 0 wrote.
template <bool update>
__global__ void handed_on_trial(int* values, unsigned* flag) {
    volatile unsigned* strong_flag = flag;
    if (blockIdx.x == 0) {
        *values = 1;
        gpu::store_release(flag, 1);
    } else if (blockIdx.x == 1) {
        while (*strong_flag < 1) gpu::pause();
        if (update) {
            atomicAdd(flag, 1u);
        } else {
            *strong_flag = 2;
        }
    } else {
        while (*strong_flag < 2) gpu::pause();
        gpu::load_acquire(flag);
        values[1] = *values;
    }
}

/// The block that comes last, by a counter, adds up what all have left.
template <bool fence_before, bool fence_after>
__global__ void last_block_trial(int* values, unsigned* done) {
    values[blockIdx.x] = 1;
    if (fence_before) __threadfence();
    if (atomicAdd(done, 1u) != gridDim.x - 1) return;
    if (fence_after) __threadfence();
    for (unsigned b = 0; b < gridDim.x; ++b) values[gridDim.x] += values[b];
}

template <bool barrier>
__global__ void count_trial(int* values, unsigned* count) {
    atomicAdd(count, 1u);
    if (barrier) __syncthreads();
    values[threadIdx.x] = int(*count);
}

TEST_CASE("a flag orders by release and acquire, each way to get it wrong is reported") {
    const gpu::Launch two = {.name = "trial", .grid = 2, .block = 64, .cooperative = true};
    CHECK(reported(two, flag_trial<Flag::right>) == 0);
    CHECK(reported(two, flag_trial<Flag::raised_early>) == orders);
    CHECK(reported(two, flag_trial<Flag::plain_store>) == orders);
    CHECK(says("thread 0 of block 0 writes and thread 0 of block 1 reads (strong) bytes 256 to 259 of 528"));
    CHECK(reported(two, flag_trial<Flag::relaxed_store>) == orders);
    CHECK_FALSE(says("of 528"));  // not the flag, what it guards
    CHECK(reported(two, flag_trial<Flag::plain_load>) == orders);
    CHECK(reported(two, flag_trial<Flag::relaxed_load>) == orders);
    CHECK(reported(two, flag_trial<Flag::no_wait>) == orders);
    CHECK(reported(two, flag_trial<Flag::no_barrier>) == orders);
    const gpu::Launch three = {.name = "trial", .grid = 3, .block = 1, .cooperative = true};
    CHECK(reported(three, handed_on_trial<true>) == 0);
    CHECK(reported(three, handed_on_trial<false>) == orders);
}

TEST_CASE("atomics order by fences on both sides, and do not race among themselves") {
    const gpu::Launch blocks = {.name = "trial", .grid = 8, .block = 1};
    CHECK(reported(blocks, last_block_trial<true, true>) == 0);
    CHECK(reported(blocks, last_block_trial<true, false>) == orders);
    CHECK(reported(blocks, last_block_trial<false, true>) == orders);
    CHECK(reported(one_block, count_trial<true>) == 0);
    CHECK(reported(one_block, count_trial<false>) == orders);
}

// ---- asynchronous operations ----

template <bool waits>
__global__ void asynchronous_trial(int* values, unsigned* barrier) {
    int* shared = gpu::shared_memory<int>();
    if (threadIdx.x == 0) {
        const order::Asynchronous operation;
        *shared = values[0];
        order::release(barrier);
    }
    __syncthreads();
    if (waits) order::acquire(barrier);
    values[1 + threadIdx.x] = *shared;
}

TEST_CASE("what an asynchronous operation writes is there once it was waited for, a barrier is not enough") {
    CHECK(reported(one_block, asynchronous_trial<true>) == 0);
    CHECK(reported(one_block, asynchronous_trial<false>) == orders);
    CHECK(says("an operation of thread 0"));
}

}  // namespace
