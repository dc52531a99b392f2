#include "kernels/threads/running_thread.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

namespace tvmap {
namespace {

double seconds(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

/// Moves a thread (0: the calling one) to one of the processors `to` and lets it go again.
void move(pid_t thread, cpu_set_t to, const cpu_set_t& allowed) {
    CPU_AND(&to, &to, &allowed);
    if (CPU_COUNT(&to) > 0 && sched_setaffinity(thread, sizeof to, &to) == 0)
        sched_setaffinity(thread, sizeof allowed, &allowed);
}

}  // namespace

RunningThread::RunningThread() : processor_(sched_getcpu()), thread_(gettid()) {
    if (pthread_getcpuclockid(pthread_self(), &clock_) != 0)
        clock_ = CLOCK_MONOTONIC;  // as if it never waited
    began_ = seconds(CLOCK_MONOTONIC);
    used_before_ = seconds(clock_);
}

RunningThread::Times RunningThread::times() const {
    const double passed = seconds(CLOCK_MONOTONIC) - began_;
    return {passed, std::min(passed, seconds(clock_) - used_before_)};
}

void RunningThread::move_to(int processor) const {
    cpu_set_t allowed, to;
    if (sched_getaffinity(thread_, sizeof allowed, &allowed) != 0) return;
    CPU_ZERO(&to);
    CPU_SET(std::size_t(processor), &to);
    move(thread_, to, allowed);
}

void leave_processors(const cpu_set_t& processors) {
    cpu_set_t allowed, others;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    CPU_AND(&others, &allowed, &processors);
    CPU_XOR(&others, &others, &allowed);
    move(0, others, allowed);
}

}  // namespace tvmap
