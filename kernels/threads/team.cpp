#include "kernels/threads/team.h"

#include <system_error>

#include "kernels/threads/threads.h"

namespace tvmap {

Team::Team(int members) {
    failures_.resize(std::size_t(members));
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
    for (int done = 0;;) {
        std::unique_lock lock(mutex_);
        started_.wait(lock, [&] { return stop_ || round_ != done; });
        if (stop_) return;
        done = round_;
        lock.unlock();
        try {
            (*work_)(member);
        } catch (...) {
            failures_[std::size_t(member)] = std::current_exception();
        }
        lock.lock();
        if (--working_ == 0) finished_.notify_one();
    }
}

void Team::run(const std::function<void(int)>& work) {
    {
        const std::lock_guard lock(mutex_);
        work_ = &work;
        working_ = int(threads_.size());
        ++round_;
    }
    started_.notify_all();
    try {
        const ThreadsForNow alone(1);
        work(0);
    } catch (...) {
        failures_[0] = std::current_exception();
    }
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return working_ == 0; });
    std::exception_ptr first;
    for (std::exception_ptr& failure : failures_) {
        if (!first) first = failure;
        failure = nullptr;
    }
    if (first) std::rethrow_exception(first);
}

}  // namespace tvmap
