// Loops over threads: everything is done once, by whoever gets to it, and a thread that is held up holds up nobody.
#include "kernels/threads/parallel.h"

#include <doctest/doctest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "kernels/threads/threads.h"

using namespace tvmap;

namespace {
constexpr std::int64_t large = cpu::serial_floats;  // traffic that is worth the threads
}

TEST_CASE("each index once, for all numbers of indices and threads") {
    for (const int threads : {1, 2, 3, 7}) {
        const ThreadsForNow now(threads);
        for (const std::int64_t count : {0, 1, 2, 3, 31, 32, 33, 1000}) {
            CAPTURE(threads);
            CAPTURE(count);
            std::vector<std::atomic<int>> visits(std::size_t(count) + 1);
            cpu::parallel_for(count, large, [&](std::int64_t i) { ++visits[std::size_t(i)]; });
            for (std::int64_t i = 0; i < count; ++i) CHECK(visits[std::size_t(i)] == 1);
            CHECK(visits.back() == 0);
        }
    }
}

TEST_CASE("the others do what a thread that is held up does not get to") {
    const ThreadsForNow now(2);
    constexpr int count = 32;
    std::atomic<int> done = 0;
    bool helped = false;
    cpu::parallel_for(count, large, [&](std::int64_t i) {
        if (i > 0) {
            ++done;
            return;
        }
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (done < count - 1 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
        helped = done == count - 1;  // its own range, too
    });
    CHECK(helped);
}
