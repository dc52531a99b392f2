// A team of threads: who works, alone and all at once; what is thrown; and what it leaves as it was.
#include "kernels/threads/team.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels/threads/threads.h"

using namespace tvmap;

TEST_CASE("each member works once in each run, on a thread of its own, and alone") {
    set_threads(3);
    Team team(4);
    CHECK(team.members() == 4);
    std::vector<std::thread::id> first(4);
    for (int run = 0; run < 50; ++run) {
        std::vector<int> calls(4), threads(4), index(4);
        std::vector<std::thread::id> id(4);
        team.run([&](int member) {
            ++calls[member];
            threads[member] = thread_count();
            index[member] = thread_index();
            id[member] = std::this_thread::get_id();
        });
        CHECK(calls == std::vector<int>(4, 1));
        CHECK(threads == std::vector<int>(4, 1));
        CHECK(index == std::vector<int>(4, 0));
        CHECK(id[0] == std::this_thread::get_id());
        CHECK(std::set(id.begin(), id.end()).size() == 4);
        if (run == 0) first = id;
        CHECK(id == first);
        CHECK(thread_count() == 3);
    }
}

TEST_CASE("all work at once: each waits for the others") {
    Team team(3);
    std::atomic<int> arrived{0};
    team.run([&](int) {
        ++arrived;
        while (arrived < 3) std::this_thread::yield();
    });
    CHECK(arrived == 3);
}

TEST_CASE("the first member's failure, by number, is thrown when all have ended; the team works on") {
    set_threads(2);
    Team team(3);
    std::atomic<int> ended{0};
    for (const int culprit : {0, 1, 2}) {
        ended = 0;
        const auto work = [&](int member) {
            ++ended;
            if (member >= culprit) throw std::runtime_error(std::to_string(member));
        };
        CHECK_THROWS_WITH_AS(team.run(work), std::to_string(culprit).c_str(), std::runtime_error);
        CHECK(ended == 3);
        CHECK(thread_count() == 2);
    }
    team.run([&](int) { ++ended; });
    CHECK(ended == 6);
}

#ifndef TVMAP_SANITIZED  // a sanitizer needs room of its own for each thread, and ends the process where there is none
TEST_CASE("where the system starts no more threads, those that there are do the work") {
    // Of an address space with room for a few stacks.
    rlimit before{}, little{};
    REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit stack{};
    getrlimit(RLIMIT_STACK, &stack);
    const std::size_t each = stack.rlim_cur == RLIM_INFINITY ? std::size_t(2) << 20 : stack.rlim_cur;
    little = before;
    little.rlim_cur = pages * std::size_t(sysconf(_SC_PAGESIZE)) + 5 * each;
    REQUIRE(setrlimit(RLIMIT_AS, &little) == 0);
    std::atomic<int> ended{0};
    {
        Team team(20);
        setrlimit(RLIMIT_AS, &before);
        CHECK(team.members() < 20);
        CHECK(team.members() >= 1);
        team.run([&](int) { ++ended; });
        CHECK(ended == team.members());
    }
}
#endif

TEST_CASE("a team of one is the caller") {
    Team team(1);
    std::thread::id id;
    team.run([&](int) { id = std::this_thread::get_id(); });
    CHECK(id == std::this_thread::get_id());
}
