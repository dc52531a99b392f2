// Threads that take large pieces of work side by side: a whole forward and backward pass each, not a loop of one.
#pragma once
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tvmap {

/// Some threads, the calling one among them. Within run() each works alone: loops that it starts stay on it
/// (thread_count() is 1), so that nobody waits for anybody before the end, where who waits gives the processor away at
/// once. Beside other work a team gets its fair share, where threads that meet at the end of every loop get far less.
/// To be used by one thread at a time.
class Team {
  public:
    /// So many members, or as many as the system starts threads for.
    explicit Team(int members);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int members() const { return int(threads_.size()) + 1; }

    /// work(member) for the members 0 … members() − 1 at once; the calling thread is member 0. Returns when all have
    /// returned; throws what the first of them, by number, has thrown.
    void run(const std::function<void(int)>& work);

  private:
    void serve(int member);

    std::vector<std::thread> threads_;
    std::vector<std::exception_ptr> failures_;  // by member
    const std::function<void(int)>* work_ = nullptr;
    int round_ = 0, working_ = 0;
    bool stop_ = false;
    std::mutex mutex_;
    std::condition_variable started_, finished_;
};

}  // namespace tvmap
