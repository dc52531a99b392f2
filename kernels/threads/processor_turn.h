// The turns that a thread gets on a processor which other work wants, too.
#pragma once
#include <atomic>
#include <chrono>

namespace tvmap {

/// Whether something happens again and again, as interruptions do beside a process that computes (every 10 ms or so), and
/// not only now and then. For any threads at once.
class Recurrence {
  public:
    void note();
    /// Whether it was noted several times lately.
    bool recur() const;

  private:
    static constexpr unsigned several = 4;
    static constexpr std::chrono::milliseconds lately{100};

    std::atomic<std::chrono::steady_clock::rep> times_[several]{};  // of the last notes
    std::atomic<unsigned> notes_{0};
};

/// What the calling thread sees of its turns. Linux ends a turn at a tick of its clock, 4 ms or less after it began, and
/// has other work run as long. A thread that is asked back for then is late; one that gives its processor away before
/// that, while nobody waits for it, gets as much time and is never late. Each thread has one of its own.
class ProcessorTurn {
  public:
    ProcessorTurn() { begin(); }

    /// A turn begins now, since the thread has slept.
    void begin();

    /// Whether other work has run on this processor, for a millisecond or more, since the last call or begin(): the
    /// turn then begins anew. To be called often; costs a look at the clock.
    bool interrupted();

    /// Whether the turn, as of the last call of interrupted(), may soon be ended.
    bool nearly_over() const { return seen_ - began_ > longest; }

    /// Lets other work that waits for this processor run first. Whether there was any, for a millisecond or more.
    bool give_away();

  private:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::microseconds longest{2500}, noticeable{1000};

    Clock::time_point began_, seen_;
    long taken_;  // how often the processor has been taken from the thread
};

}  // namespace tvmap
