// The threads that share loops: who takes part, who is not waited for, and what tells them that other work runs.
#include "kernels/threads/loop_crew.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "kernels/threads/parallel.h"
#include "kernels/threads/processor_turn.h"
#include "kernels/threads/threads.h"

using namespace tvmap;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t large = cpu::serial_floats;  // traffic that is worth the threads

/// Waits for a condition, awake, and tells whether it came true within half a minute.
template <class Condition>
bool comes_true(const Condition& condition) {
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (std::chrono::steady_clock::now() < end)
        if (condition()) return true;
    return false;
}

/// Computes for a while.
void work_for(std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
    }
}

/// As long as it lives, the calling thread runs on this processor alone.
class Bound {
  public:
    explicit Bound(int processor) {
        sched_getaffinity(0, sizeof before_, &before_);
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(std::size_t(processor), &one);
        REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    }
    ~Bound() { sched_setaffinity(0, sizeof before_, &before_); }

  private:
    cpu_set_t before_;
};

/// Another thread that computes on this processor.
class OtherWork {
  public:
    explicit OtherWork(int processor)
        : thread_([this, processor] {
              const Bound bound(processor);
              runs_ = true;
              while (!stop_) {
              }
          }) {
        REQUIRE(comes_true([&] { return runs_.load(); }));
    }
    ~OtherWork() {
        stop_ = true;
        thread_.join();
    }

  private:
    std::atomic<bool> runs_{false}, stop_{false};
    std::thread thread_;
};

}  // namespace

TEST_CASE("members have numbers of their own, and work alone") {
    const ThreadsForNow now(3);
    std::atomic<int> within{0};
    std::vector<int> index(3, -1), nested(3, 0);
    std::vector<std::thread::id> nested_on(3), id(3);
    bool all_came = false;
    cpu::parallel_for(3, large,
                      [&](std::int64_t i) {  // each waits for all: three threads take one number each
                          index[std::size_t(i)] = thread_index();
                          id[std::size_t(i)] = std::this_thread::get_id();
                          ++within;
                          const bool came = comes_true([&] { return within == 3; });
                          cpu::parallel_for(4, large, [&](std::int64_t) {
                              ++nested[std::size_t(i)];
                              nested_on[std::size_t(i)] = std::this_thread::get_id();
                          });
                          if (i == 0) all_came = came;
                      });
    CHECK(all_came);
    CHECK(std::set<int>(index.begin(), index.end()) == std::set<int>{0, 1, 2});
    CHECK(nested == std::vector<int>(3, 4));
    CHECK(nested_on == id);
    CHECK(thread_index() == 0);
}

TEST_CASE("while the crew works for one thread, the loops of another stay on that one") {
    std::atomic<bool> held{true}, begun{false};
    std::thread first([&] {
        const ThreadsForNow now(2);
        cpu::parallel_for(2, large, [&](std::int64_t) {
            begun = true;
            comes_true([&] { return !held; });
        });
    });
    CHECK(comes_true([&] { return begun.load(); }));
    const ThreadsForNow now(2);
    std::set<std::thread::id> workers;
    int visits = 0;
    for (int loop = 0; loop < 100; ++loop)
        cpu::parallel_for(10, large, [&](std::int64_t) {
            ++visits;
            workers.insert(std::this_thread::get_id());
        });
    CHECK(visits == 1000);
    CHECK(workers == std::set<std::thread::id>{std::this_thread::get_id()});
    held = false;
    first.join();
}

TEST_CASE("a loop ends without a member that has not come") {
    const ThreadsForNow now(2);
    // Where the other member sleeps, it takes some time to come: loops of nearly nothing end before.
    int alone = 0;
    for (int loop = 0; loop < 200; ++loop) {
        std::this_thread::sleep_for(1ms);
        std::atomic<bool> other{false};
        cpu::parallel_for(2, large, [&](std::int64_t) {
            if (thread_index() > 0) other = true;
        });
        alone += !other;
    }
    CHECK(alone > 0);
}

TEST_CASE("one loop after another, of more and fewer members, from more than one thread") {
    std::atomic<std::int64_t> sum{0};
    const auto loops = [&] {
        for (int loop = 0; loop < 3000; ++loop) {
            const ThreadsForNow now(1 + loop % 4);
            cpu::parallel_for(loop % 50, large, [&](std::int64_t i) { sum += i + 1; });
        }
    };
    std::thread second(loops);
    loops();
    second.join();
    std::int64_t expected = 0;
    for (int loop = 0; loop < 3000; ++loop) expected += std::int64_t(loop % 50) * (loop % 50 + 1) / 2;
    CHECK(sum == 2 * expected);
}

TEST_CASE("what happens again and again is told from what happens now and then") {
    Recurrence recurrence;
    CHECK(!recurrence.recur());
    for (int note = 0; note < 3; ++note) recurrence.note();
    CHECK(!recurrence.recur());
    std::this_thread::sleep_for(150ms);
    recurrence.note();  // the fourth, but the others are old
    CHECK(!recurrence.recur());
    for (int note = 0; note < 4; ++note) recurrence.note();
    CHECK(recurrence.recur());
    std::this_thread::sleep_for(150ms);
    CHECK(!recurrence.recur());
}

TEST_CASE("a turn: long work is no interruption; other work on the processor is one") {
    const int processor = sched_getcpu();
    const Bound bound(processor);
    // What else runs on this machine may interrupt it; hardly every time.
    bool undisturbed = false;
    for (int attempt = 0; attempt < 50 && !undisturbed; ++attempt) {
        ProcessorTurn turn;
        CHECK(!turn.nearly_over());
        work_for(5ms);
        undisturbed = !turn.interrupted() && turn.nearly_over();
    }
    CHECK(undisturbed);

    const OtherWork other(processor);
    ProcessorTurn turn;
    bool begins_anew = false;
    CHECK(comes_true([&] {
        const bool interrupted = turn.interrupted();
        if (interrupted) begins_anew = !turn.nearly_over();
        return interrupted;
    }));
    CHECK(begins_anew);
    CHECK(comes_true([&] { return turn.give_away(); }));
    CHECK(!turn.nearly_over());
}

TEST_CASE("loops notice other work") {
    const ThreadsForNow now(2);
    const Bound bound(sched_getcpu());
    const auto loop = [] {
        cpu::parallel_for(64, large, [](std::int64_t) { work_for(0ms); });
        return beside_other_work();
    };
    const OtherWork other(sched_getcpu());
    CHECK(comes_true(loop));
}
