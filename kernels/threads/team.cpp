#include "kernels/threads/team.h"

#include <sched.h>

#include <system_error>
#include <utility>

#include "kernels/threads/threads.h"

namespace tvmap {

Team::Team(int members) : working_(std::size_t(members)) {
    try {
        for (int member = 1; member < members; ++member)
            threads_.emplace_back([this, member] { serve(member); });
    } catch (const std::system_error&) {
        // Those that there are do the work.
    }
}

Team::~Team() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    started_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void Team::serve(int member) {
    set_threads(1);
    for (std::unique_lock lock(mutex_);;) {
        started_.wait(lock, [&] { return stop_ || next_ < tasks_; });
        if (stop_) return;
        take_tasks(member, lock);
    }
}

// Where all processors have work, Linux likes to wake a thread on that of its waker.
void Team::begin(int member, std::unique_lock<std::mutex>& lock) {
    cpu_set_t taken;
    CPU_ZERO(&taken);
    for (const auto& fellow : working_)
        if (fellow) CPU_SET(std::size_t(fellow->processor()), &taken);
    if (CPU_ISSET(std::size_t(sched_getcpu()), &taken)) {
        lock.unlock();
        leave_processors(taken);
        lock.lock();
    }
    if (next_ < tasks_) working_[std::size_t(member)].emplace();
}

// Linux would move a thread from a shared processor to the free one, too, but some milliseconds later.
void Team::end(int member) {
    const RunningThread::Times own = working_[std::size_t(member)]->times();
    working_[std::size_t(member)].reset();
    if (done_ == tasks_ || own.used < 0.9 * own.passed) return;  // nothing to do, or this one is shared, too
    for (const auto& fellow : working_) {
        if (!fellow) continue;
        const RunningThread::Times times = fellow->times();
        if (times.passed > 0.001 && times.used < 0.75 * times.passed) return fellow->move_to(sched_getcpu());
    }
}

void Team::take_tasks(int member, std::unique_lock<std::mutex>& lock) {
    begin(member, lock);
    if (!working_[std::size_t(member)]) return;  // others were faster
    while (next_ < tasks_) {
        const int task = next_++;
        std::exception_ptr failure;
        lock.unlock();
        try {
            (*work_)(task);
        } catch (...) {
            failure = std::current_exception();
        }
        lock.lock();
        if (failure && (!failure_ || task < failed_)) {
            failure_ = failure;
            failed_ = task;
        }
        if (++done_ == tasks_) finished_.notify_one();
    }
    end(member);
}

void Team::run(int tasks, const std::function<void(int)>& work) {
    const ThreadsForNow alone(1);
    std::unique_lock lock(mutex_);
    work_ = &work;
    tasks_ = tasks;
    next_ = done_ = 0;
    started_.notify_all();
    take_tasks(0, lock);
    finished_.wait(lock, [&] { return done_ == tasks_; });
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace tvmap
