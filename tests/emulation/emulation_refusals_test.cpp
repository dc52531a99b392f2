// What the emulation refuses and reports: waits without end, launches that no device can do, memory that is not the
// device's, and work that cannot be recorded.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/gpu/gpu.h"
#include "tests/support/device_buffer.h"
#include "tests/support/emulated_trial.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

using namespace tvmap;

namespace {

// ---- what cannot end well ----

enum class Hang {
    skipped_barrier,
    two_barriers,
    lonely_flag,
    awaited_flag,
    poll_without_pause,
    no_lane,
    two_masks,
    throws
};

template <Hang hang>
__global__ void hang_trial(unsigned* flag) {
    const unsigned t = threadIdx.x;
    switch (hang) {
        case Hang::skipped_barrier:
            if (t < 5)
                __syncthreads();
            else
                while (gpu::load_acquire(flag) == 0) gpu::pause();
            break;
        case Hang::two_barriers:
            if (t < 5)
                __syncthreads();
            else
                __syncthreads();
            break;
        case Hang::lonely_flag:
            while (gpu::load_acquire(flag) == 0) gpu::pause();
            break;
        case Hang::awaited_flag:
            gpu::wait_until(flag, 1, "hang_trial");
            break;
        case Hang::poll_without_pause:
            while (gpu::load_acquire(flag) == 0) continue;
            break;
        case Hang::no_lane:
            __syncwarp(0xfff0);
            break;
        case Hang::two_masks:
            __syncwarp(t % 2 == 0 ? 0x5555u : ~0u);
            break;
        case Hang::throws:
            if (t == 7) __trap();
            __syncthreads();
            break;
    }
}

template <Hang hang>
std::string hangs() {
    DeviceBuffer<unsigned> flag(std::vector<unsigned>{0});
    std::string message;
    right([&] {
        message = error([&] {
            gpu::launch(test_stream(), {.name = "hang_trial", .block = 16}, hang_trial<hang>, flag.data());
        });
        CHECK(contains(message, "kernel hang_trial: "));
        return true;
    });
    return message;
}

__global__ void visit_trial(int* visits) {
    __syncthreads();
    ++visits[threadIdx.x];
}

bool visits_all() {
    DeviceBuffer<int> visits(std::vector<int>(16, 0));
    gpu::launch(test_stream(), {.name = "visit_trial", .block = 16}, visit_trial, visits.data());
    return compared_bits(visits.download(), std::vector<int>(16, 1));
}

TEST_CASE("threads that wait for ever are reported, and why") {
    CHECK(contains(hangs<Hang::skipped_barrier>(), "deadlock: 16 threads"));
    CHECK(contains(hangs<Hang::skipped_barrier>(), "5 at __syncthreads (emulation_refusals_test.cpp:"));
    CHECK(contains(hangs<Hang::two_barriers>(), "must meet at the same barrier"));
    CHECK(contains(hangs<Hang::lonely_flag>(), "16 at pause()"));
    CHECK(contains(hangs<Hang::awaited_flag>(), "16 at pause()"));
    CHECK(contains(hangs<Hang::poll_without_pause>(), "without pause()"));
    CHECK(contains(hangs<Hang::no_lane>(), "is not in the mask"));
    CHECK(contains(hangs<Hang::two_masks>(), "the same mask"));
    CHECK(contains(hangs<Hang::throws>(), "__trap()"));
    CHECK(right(visits_all) == every_seed);  // the next launch is none the worse
}

__global__ void nothing_trial() {}

TEST_CASE("a launch that the device cannot do is refused") {
    const gpu::Device usual = gpu::device();
    const auto refused = [](const gpu::Launch& how) {
        return error([&] { gpu::launch(test_stream(), how, nothing_trial); });
    };
    CHECK(refused({.name = "nothing_trial", .block = 1024}) == "");
    CHECK(contains(refused({.name = "nothing_trial", .block = 1025}), "kernel nothing_trial, grid 1x1x1"));
    CHECK(contains(refused({.name = "nothing_trial", .grid = 0}), "nothing to do"));
    CHECK(contains(refused({.name = "nothing_trial", .grid = dim3(1, 65536)}), "grid is too large"));
    CHECK(refused({.name = "nothing_trial", .shared_bytes = 227 << 10}) == "");
    CHECK(contains(refused({.name = "nothing_trial", .shared_bytes = (227 << 10) + 1}), "shared memory"));
    CHECK(contains(refused({.name = "nothing_trial", .grid = 9, .cluster = 2}), "no multiple"));
    CHECK(refused({.name = "nothing_trial", .grid = 8, .cluster = 8}) == "");
    CHECK(contains(refused({.name = "nothing_trial", .grid = 16, .cluster = 16}), "clusters of at most 8"));

    gpu::Launch how = {.name = "nothing_trial", .grid = 16, .block = 1000, .cooperative = true};
    CHECK(gpu::resident_blocks(how, nothing_trial) == 16);  // two on each of 8 multiprocessors
    CHECK(refused(how) == "");
    how.grid = 17;
    CHECK(contains(refused(how), "only 16 such blocks"));
    how.shared_bytes = 120 << 10;
    CHECK(gpu::resident_blocks(how, nothing_trial) == 8);
    how.cluster = 3;
    CHECK(gpu::resident_blocks(how, nothing_trial) == 6);  // whole clusters
    how.shared_bytes = 228 << 10;
    CHECK(gpu::resident_blocks(how, nothing_trial) == 0);

    gpu::Device older = usual;
    older.major = 8;
    older.shared_per_block = 163 << 10;
    emulation::set_device(older);
    CHECK(contains(refused({.name = "nothing_trial", .grid = 8, .cluster = 2}), "clusters of at most 1"));
    CHECK(contains(refused({.name = "nothing_trial", .shared_bytes = 200 << 10}), "shared memory"));
    emulation::set_device(usual);
}

// ---- memory ----

__global__ void unwritten_trial(float* seen) {
    float* shared = gpu::shared_memory<float>();
    seen[blockIdx.x] = *shared;
    *shared = 1;
}

TEST_CASE("memory that was not written holds NaN, a block's shared memory anew for every block") {
    DeviceBuffer<float> seen(std::vector<float>(3, 0.0f));
    gpu::launch(test_stream(), {.name = "unwritten_trial", .grid = 3, .block = 1, .shared_bytes = 4},
                unwritten_trial, seen.data());
    for (const float value : seen.download()) CHECK(std::isnan(value));
    auto* memory = static_cast<float*>(gpu::allocate(sizeof(float)));
    float value = 0;
    gpu::copy(test_stream(), &value, memory, sizeof(float));
    gpu::release(memory);
    CHECK(std::isnan(value));
}

__global__ void write_trial(int* value) { *value = 1; }

TEST_CASE("device memory is not the host's") {
    const std::size_t before = gpu::memory_in_use(), free = gpu::memory_free();
    auto* memory = static_cast<unsigned char*>(gpu::allocate(1000));
    CHECK(reinterpret_cast<std::uintptr_t>(memory) % 256 == 0);
    CHECK(gpu::memory_in_use() == before + 1000);
    CHECK(gpu::memory_free() == free - 1000);
    CHECK(contains(error([&] { gpu::allocate(free); }), "bytes left"));

    int on_host = 0;
    CHECK(contains(error([&] {
                       gpu::launch(test_stream(), {.name = "write_trial", .block = 1}, write_trial, &on_host);
                   }),
                   "an argument points to host memory"));
    CHECK(on_host == 0);
    std::vector<unsigned char> host(2000);
    CHECK(contains(error([&] { gpu::copy(test_stream(), host.data(), memory + 1, 1000); }), "reaches out"));
    CHECK(contains(error([&] { gpu::fill(test_stream(), memory, 0, 1001); }), "reaches out"));
#if defined(__SANITIZE_ADDRESS__)
    CHECK(__asan_address_is_poisoned(memory));
    bool poisoned = true, poisoned_behind = false;
    emulation::enqueue(test_stream(), [&] {
        poisoned = __asan_address_is_poisoned(memory + 999);
        poisoned_behind = __asan_address_is_poisoned(memory + 1000);
    });
    CHECK_FALSE(poisoned);
    CHECK(poisoned_behind);
    CHECK(__asan_address_is_poisoned(memory));
#endif
    gpu::release(memory);
    CHECK(gpu::memory_in_use() == before);
}

#if defined(__SANITIZE_ADDRESS__)
__global__ void bounds_trial(int* poisoned) {
    auto* shared = gpu::shared_memory<char>();
    poisoned[0] = __asan_address_is_poisoned(shared + 12) + 2 * __asan_address_is_poisoned(shared + 13);
}

TEST_CASE("shared memory ends where it ends") {
    DeviceBuffer<int> poisoned(1);
    gpu::launch(test_stream(), {.name = "bounds_trial", .block = 1, .shared_bytes = 13}, bounds_trial,
                poisoned.data());
    CHECK(compared_bits(poisoned.download(), {2}));
}
#endif

// ---- streams and graphs ----

__global__ void add_trial(int amount, int* value) { *value += amount; }

TEST_CASE("recorded work runs when it is replayed, with the arguments it was recorded with") {
    const gpu::Stream stream = test_stream();
    DeviceBuffer<int> value(std::vector<int>{5}), copied(std::vector<int>{0});
    int amount = 3;
    const auto graph = gpu::record(stream, [&] {
        gpu::launch(stream, {.name = "add_trial", .block = 1}, add_trial, amount, value.data());
        gpu::copy(stream, copied.data(), value.data(), sizeof(int));
        gpu::fill(stream, value.data(), 1, 1);
        emulation::enqueue(stream, [&] { *value.data() += 256; });
    });
    amount = 1000;
    CHECK(compared_bits(value.download(), {5}));
    graph->launch(stream);
    CHECK(compared_bits(copied.download(), {8}));
    CHECK(compared_bits(value.download(), {257}));
    graph->launch(stream);
    CHECK(compared_bits(copied.download(), {260}));
    CHECK(compared_bits(value.download(), {513}));
    CHECK(emulation::compared().count("add_trial") == 1);
}

TEST_CASE("what cannot be recorded is refused, and recording ends") {
    const gpu::Stream stream = test_stream(), other = gpu::make_stream();
    DeviceBuffer<int> value(std::vector<int>{0});
    int on_host = 0;
    void* pinned = gpu::allocate_pinned(sizeof(int));
    const auto refused = [&](const std::function<void()>& work) {
        return error([&] { gpu::record(stream, work); });
    };
    CHECK(contains(refused([&] { gpu::synchronise(stream); }), "while work is recorded"));
    CHECK(contains(refused([&] { gpu::allocate(4); }), "while work is recorded"));
    CHECK(contains(refused([&] {
                       gpu::time(
                           stream, [] {}, 0, 1);
                   }),
                   "while work is recorded"));
    CHECK(contains(refused([&] { gpu::record(stream, [] {}); }), "while work is recorded"));
    CHECK(contains(refused([&] { gpu::copy(stream, value.data(), &on_host, sizeof(int)); }), "not pinned"));
    CHECK(contains(refused([&] { gpu::copy(stream, &on_host, value.data(), sizeof(int)); }), "not pinned"));
    CHECK(contains(refused([&] { gpu::fill(other, value.data(), 0, sizeof(int)); }), "another is recorded"));
    CHECK(refused([&] { gpu::copy(stream, pinned, value.data(), sizeof(int)); }) == "");
    gpu::fill(stream, value.data(), 0, sizeof(int));
    CHECK(compared_bits(value.download(), {0}));
    gpu::release_pinned(pinned);
    gpu::release_stream(other);
}

TEST_CASE("time runs the work") {
    int runs = 0;
    CHECK(gpu::time(
              test_stream(), [&] { ++runs; }, 2, 5) >= 0);
    CHECK(runs == 7);
}

}  // namespace
