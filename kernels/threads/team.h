// Threads that take large pieces of work side by side: a whole forward and backward pass each, not a loop of one.
#pragma once
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "kernels/threads/running_thread.h"

namespace tvmap {

/// Some threads, the calling one among them. Within run() each works alone: loops that it starts stay on it
/// (thread_count() is 1), so that nobody waits for anybody before the end, where who waits gives the processor away at
/// once. Beside other work a team gets its fair share, where threads that meet at the end of every loop get far less:
/// members take tasks as they get time, begin on processors of their own, and one that finds no more tasks leaves its
/// processor to one that had to share its own. To be used by one thread at a time.
class Team {
  public:
    /// So many members, or as many as the system starts threads for.
    explicit Team(int members);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int members() const { return int(threads_.size()) + 1; }

    /// work(task) for the tasks 0 … tasks − 1, begun in this order, each by the member that is there for it first: a
    /// member that other processes keep waiting may get none. Returns when all are done; throws what the first of
    /// them, by number, has thrown.
    void run(int tasks, const std::function<void(int)>& work);

  private:
    void serve(int member);
    void take_tasks(int member, std::unique_lock<std::mutex>& lock);
    void begin(int member, std::unique_lock<std::mutex>& lock);
    void end(int member);

    std::vector<std::thread> threads_;
    std::mutex mutex_;  // of all that follows
    std::condition_variable started_, finished_;
    const std::function<void(int)>* work_ = nullptr;
    int tasks_ = 0, next_ = 0, done_ = 0;
    std::vector<std::optional<RunningThread>> working_;  // by member
    std::exception_ptr failure_;
    int failed_ = 0;  // the task that threw it
    bool stop_ = false;
};

}  // namespace tvmap
