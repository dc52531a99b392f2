// The threads that share the loops of kernels.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/threads/processor_turn.h"

namespace tvmap {

/// Threads that help with a loop as far as they are there: it ends when its last piece is done, whoever did it. Who has
/// not come by then is not waited for (OpenMP's parallel regions wait for every thread, even for one that has nothing to
/// do and no processor either), and who shares a processor with other work gives it away between two pieces rather than
/// within one. So a loop beside other work gets nearly its fair share of the processors. Within a loop thread_index()
/// tells the members apart; loops that its body starts stay on their thread, as do those of a second thread while the
/// crew works for a first.
class LoopCrew {
  public:
    /// body(context, first, end) does the numbers first … end − 1 of a loop.
    using Body = void (*)(const void* context, std::int64_t first, std::int64_t end);

    /// The process's.
    static LoopCrew& instance();
    ~LoopCrew();

    /// Starts threads until there are so many members, the calling thread among them, or until the system refuses. Not
    /// while another thread runs a loop.
    void enlist(int members);

    /// Numbers 0 … count − 1, by at most so many threads. A member begins with a contiguous range of its own, the same
    /// in each loop, so that it finds in its cache what it left there; when it is done it helps others. What a body
    /// computes must not depend on who runs it, and it must not throw.
    void run(int threads, std::int64_t count, Body body, const void* context);

    /// Whether other processes have lately taken processors from members: who must wait for one will wait long.
    bool beside_other_work() const;

  private:
    static constexpr int most_members = 256;

    /// A member's range of a loop, as far as nobody has taken it.
    struct alignas(64) Range {
        std::atomic<std::int64_t> next;
        std::int64_t end;
    };

    struct Loop {
        int threads = 0;
        std::int64_t piece = 1;
        Body body = nullptr;
        const void* context = nullptr;
    };

    LoopCrew() = default;
    void open(int threads, std::int64_t count, Body body, const void* context);
    void close();
    void serve(int member);
    void leave_processor_of_caller() const;
    void join(int member);
    void leave();
    enum class Stop { no_piece_left, turn_nearly_over };
    Stop take_pieces(int member);

    std::mutex in_use_;
    std::vector<std::thread> threads_;
    Loop loop_;
    Range ranges_[most_members];
    alignas(64) std::atomic<std::uint32_t> state_{0};  // of the loop: open or not, and how many are within
    alignas(64) std::atomic<std::uint32_t> loops_{0};  // that have been opened; what members at rest wait for
    std::atomic<int> caller_processor_{-1};
    Recurrence interruptions_;  // by other work
    std::atomic<bool> stop_{false};
};

}  // namespace tvmap
