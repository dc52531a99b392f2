// A team of threads: who works, alone and all at once; what is thrown; where they run; and what it leaves as it was.
#include "kernels/threads/team.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels/threads/threads.h"

using namespace tvmap;

namespace {

/// Waits until `count` have come here: tasks that do are begun by as many members.
class Meeting {
  public:
    explicit Meeting(int count) : count_(count) {}
    void arrive() {
        ++arrived_;
        while (arrived_ < count_) std::this_thread::yield();
    }

  private:
    int count_;
    std::atomic<int> arrived_{0};
};

cpu_set_t allowed_processors() {
    cpu_set_t allowed;
    REQUIRE(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    return allowed;
}

bool may_run_as_before(const cpu_set_t& before) {
    const cpu_set_t now = allowed_processors();
    return CPU_EQUAL(&now, &before);
}

}  // namespace

TEST_CASE("each task is done once, by members that are threads of their own and work alone") {
    set_threads(3);
    Team team(4);
    CHECK(team.members() == 4);
    std::set<std::thread::id> first;
    for (int run = 0; run < 50; ++run) {
        std::vector<int> calls(4), threads(4), index(4);
        std::vector<std::thread::id> id(4);
        Meeting all(4);
        team.run(4, [&](int task) {
            ++calls[task];
            threads[task] = thread_count();
            index[task] = thread_index();
            id[task] = std::this_thread::get_id();
            all.arrive();
        });
        CHECK(calls == std::vector<int>(4, 1));
        CHECK(threads == std::vector<int>(4, 1));
        CHECK(index == std::vector<int>(4, 0));
        const std::set<std::thread::id> members(id.begin(), id.end());
        CHECK(members.size() == 4);
        CHECK(members.count(std::this_thread::get_id()) == 1);
        if (run == 0) first = members;
        CHECK(members == first);
        CHECK(thread_count() == 3);
    }
}

TEST_CASE("tasks are begun in their order; who is kept waiting leaves them to others") {
    Team team(2);
    std::atomic<int> begun{0}, done{0};
    std::thread::id kept;
    std::vector<std::thread::id> id(20);
    team.run(20, [&](int task) {
        CHECK(begun++ >= task - 1);
        id[task] = std::this_thread::get_id();
        if (task == 0) {
            kept = id[0];
            while (done < 19) std::this_thread::yield();
        } else {
            ++done;
        }
    });
    CHECK(done == 19);
    CHECK(std::count(id.begin(), id.end(), kept) == 1);
}

TEST_CASE("fewer tasks than members, and none") {
    Team team(3);
    std::atomic<int> calls{0};
    for (int run = 0; run < 100; ++run) team.run(1, [&](int) { ++calls; });
    CHECK(calls == 100);
    team.run(0, [&](int) { ++calls; });
    CHECK(calls == 100);
}

TEST_CASE("the first task's failure, by number, is thrown when all have ended; the team works on") {
    set_threads(2);
    Team team(3);
    std::atomic<int> ended{0};
    for (const int culprit : {0, 1, 2}) {
        ended = 0;
        Meeting all(3);
        const auto work = [&](int task) {
            all.arrive();
            ++ended;
            if (task >= culprit) throw std::runtime_error(std::to_string(task));
        };
        CHECK_THROWS_WITH_AS(team.run(3, work), std::to_string(culprit).c_str(), std::runtime_error);
        CHECK(ended == 3);
        CHECK(thread_count() == 2);
    }
    team.run(3, [&](int) { ++ended; });
    CHECK(ended == 6);
}

TEST_CASE("where members work: each may run where it might before") {
    const cpu_set_t before = allowed_processors();
    Team team(2);
    for (int run = 0; run < 20; ++run) {
        std::atomic<int> as_before{0};
        Meeting both(2);
        team.run(2, [&](int) {
            both.arrive();
            as_before += may_run_as_before(before);
        });
        CHECK(as_before == 2);
    }
    CHECK(may_run_as_before(before));
}

TEST_CASE("a running thread knows how much of its time it gets") {
    const RunningThread thread;
    CHECK(thread.processor() >= 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const RunningThread::Times times = thread.times();
    CHECK(times.passed >= 0.05);
    CHECK(times.passed < 50);
    CHECK(times.used >= 0);
    CHECK(times.used < 0.5 * times.passed);  // it slept
}

TEST_CASE("a thread that is moved may run where it might before") {
    const cpu_set_t before = allowed_processors();
    if (CPU_COUNT(&before) < 2) return;  // nowhere to go
    std::atomic<bool> stop{false};
    std::atomic<const RunningThread*> runs{nullptr};
    std::atomic<bool> as_before{false};
    std::thread other([&] {
        const RunningThread self;
        runs = &self;
        while (!stop) std::this_thread::yield();
        as_before = may_run_as_before(before);
    });
    while (!runs) std::this_thread::yield();
    for (int processor = 0; processor < CPU_SETSIZE; ++processor)
        runs.load()->move_to(processor);  // most are none
    stop = true;
    other.join();
    CHECK(as_before);

    // Linux might move it back within microseconds, but hardly every time.
    bool left = false;
    for (int attempt = 0; attempt < 50 && !left; ++attempt) {
        const int here = sched_getcpu();
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(std::size_t(here), &one);
        leave_processors(one);
        left = sched_getcpu() != here;
        CHECK(may_run_as_before(before));
    }
    CHECK(left);
    leave_processors(before);  // there is no other
    CHECK(may_run_as_before(before));
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
        team.run(20, [&](int) { ++ended; });
        CHECK(ended == 20);
    }
}
#endif

TEST_CASE("a team of one is the caller") {
    Team team(1);
    std::thread::id id;
    team.run(1, [&](int) { id = std::this_thread::get_id(); });
    CHECK(id == std::this_thread::get_id());
}
