// How a loop opens and ends: `state_` holds a bit that says that the loop is open, and the number of members within. A
// member enters by adding one to it while it is open. The caller closes it when it finds no piece left, and waits for
// those within; nobody enters after that, so then the loop's data may change. `loops_` counts loops: a member that has
// done its part in one does not enter it again.
#include "kernels/threads/loop_crew.h"

#include <sched.h>

#include <hwy/cache_control.h>
#include <algorithm>
#include <system_error>

#include "kernels/threads/running_thread.h"
#include "kernels/threads/threads.h"

namespace tvmap {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t open_bit = 1u << 31;
constexpr int pieces_each = 16;  // a member takes its range in so many pieces
// Longer than what lies between two loops takes, and than waking a thread does.
constexpr std::chrono::microseconds patience{50};

thread_local int index_in_loop = 0;
thread_local bool within_loop = false;
thread_local ProcessorTurn turn;

/// Waits, first awake and then asleep, until `value` is another. Whether it slept.
bool wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
    const Clock::time_point began = Clock::now();
    for (int spins = 1; value.load(std::memory_order_acquire) == old; ++spins) {
        hwy::Pause();
        if (spins % 16 == 0 && Clock::now() - began > patience) {
            value.wait(old, std::memory_order_acquire);
            return true;
        }
    }
    return false;
}

}  // namespace

int thread_index() { return index_in_loop; }

bool beside_other_work() { return LoopCrew::instance().beside_other_work(); }

LoopCrew& LoopCrew::instance() {
    static LoopCrew crew;
    return crew;
}

LoopCrew::~LoopCrew() {
    stop_ = true;
    ++loops_;
    loops_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void LoopCrew::enlist(int members) {
    try {
        while (int(threads_.size()) + 1 < std::min(members, most_members))
            threads_.emplace_back([this, member = int(threads_.size()) + 1] { serve(member); });
    } catch (const std::system_error&) {
        // Those that there are do the work.
    }
}

bool LoopCrew::beside_other_work() const { return interruptions_.recur(); }

void LoopCrew::open(int threads, std::int64_t count, Body body, const void* context) {
    loop_ = {threads, std::max<std::int64_t>(1, count / (threads * pieces_each)), body, context};
    for (int t = 0; t < threads; ++t) {
        ranges_[t].next.store(count * t / threads, std::memory_order_relaxed);
        ranges_[t].end = count * (t + 1) / threads;
    }
    caller_processor_.store(sched_getcpu(), std::memory_order_relaxed);
    state_.store(open_bit + 1, std::memory_order_release);
    loops_.fetch_add(1, std::memory_order_release);
    loops_.notify_all();
}

void LoopCrew::close() {
    std::uint32_t within = state_.fetch_sub(open_bit + 1, std::memory_order_acq_rel) - open_bit - 1;
    while (within > 0) {
        wait_for_change(state_, within);
        within = state_.load(std::memory_order_acquire);
    }
}

void LoopCrew::run(int threads, std::int64_t count, Body body, const void* context) {
    std::unique_lock lock(in_use_, std::defer_lock);
    if (within_loop || !lock.try_lock()) return body(context, 0, count);
    enlist(threads);
    within_loop = true;
    open(std::min(threads, int(threads_.size()) + 1), count, body, context);
    take_pieces(0);
    close();
    within_loop = false;
}

LoopCrew::Stop LoopCrew::take_pieces(int member) {
    const int threads = loop_.threads;
    for (int t = member, visited = 0; visited < threads; ++visited, t = (t + 1) % threads) {
        Range& range = ranges_[t];
        for (;;) {
            if (turn.interrupted()) interruptions_.note();
            if (member > 0 && turn.nearly_over()) return Stop::turn_nearly_over;
            const std::int64_t first = range.next.fetch_add(loop_.piece, std::memory_order_relaxed);
            if (first >= range.end) break;
            loop_.body(loop_.context, first, std::min(first + loop_.piece, range.end));
        }
    }
    return Stop::no_piece_left;
}

// Where all processors have work, Linux likes to wake a thread on that of its waker; both would work in turns.
void LoopCrew::leave_processor_of_caller() const {
    const int processor = sched_getcpu();
    if (processor < 0 || processor != caller_processor_.load(std::memory_order_relaxed)) return;
    cpu_set_t taken;
    CPU_ZERO(&taken);
    CPU_SET(std::size_t(processor), &taken);
    leave_processors(taken);
}

void LoopCrew::join(int member) {
    std::uint32_t state = state_.load(std::memory_order_acquire);
    while (state & open_bit) {
        if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
        const Stop stop = member < loop_.threads ? take_pieces(member) : Stop::no_piece_left;
        leave();
        if (stop == Stop::no_piece_left) return;
        if (turn.give_away()) interruptions_.note();
        state = state_.load(std::memory_order_acquire);
    }
}

void LoopCrew::leave() {
    if (state_.fetch_sub(1, std::memory_order_acq_rel) == 1)
        state_.notify_one();  // closed, and the last one out
}

void LoopCrew::serve(int member) {
    set_threads(1);
    index_in_loop = member;
    within_loop = true;
    for (std::uint32_t loops = 0; !stop_; join(member)) {
        if (wait_for_change(loops_, loops)) turn.begin();
        loops = loops_.load(std::memory_order_acquire);
        leave_processor_of_caller();
    }
}

}  // namespace tvmap
