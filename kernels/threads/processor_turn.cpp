#include "kernels/threads/processor_turn.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <iterator>

namespace tvmap {
namespace {

long times_taken() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

}  // namespace

void Recurrence::note() {
    const unsigned note = notes_.fetch_add(1, std::memory_order_relaxed);
    times_[note % several].store(std::chrono::steady_clock::now().time_since_epoch().count(),
                                 std::memory_order_relaxed);
}

bool Recurrence::recur() const {
    const auto since = (std::chrono::steady_clock::now() - lately).time_since_epoch().count();
    return std::all_of(std::begin(times_), std::end(times_),
                       [&](const auto& time) { return time.load(std::memory_order_relaxed) > since; });
}

void ProcessorTurn::begin() {
    began_ = seen_ = Clock::now();
    taken_ = times_taken();
}

// A long while between two calls may as well be a long piece of work: what tells is whether the system took the processor.
bool ProcessorTurn::interrupted() {
    const Clock::time_point before = seen_;
    seen_ = Clock::now();
    if (seen_ - before < noticeable) return false;
    const long taken_before = taken_;
    taken_ = times_taken();
    if (taken_ == taken_before) return false;
    began_ = seen_;
    return true;
}

bool ProcessorTurn::give_away() {
    const Clock::time_point before = Clock::now();
    sched_yield();
    begin();
    return began_ - before >= noticeable;
}

}  // namespace tvmap
