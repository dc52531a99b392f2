// A run by time (train.time): how much of it is over. Its schedule goes by the share of the time, not by steps, so that
// it is finished when the time is up, however fast steps turn out to be. No two such runs have the same bits.
#pragma once
#include <algorithm>

#include "engine/files/stopwatch.h"

namespace tvmap {

/// Runs from its construction: reading, planning and timing algorithms count. For one thread.
class RunClock {
  public:
    explicit RunClock(double limit) : limit_(limit) {}

    /// The run goes on after so many seconds of earlier processes; between them the clock stood still.
    void go_on_after(double seconds) { before_ = seconds; }
    /// So many seconds are needed after the last step, to validate and to write checkpoints.
    void reserve(double seconds) { reserved_ = seconds; }

    double limit() const { return limit_; }
    double used() const { return before_ + watch_.seconds(); }
    double left() const { return std::max(0.0, limit_ - used()); }
    /// Of the time for steps, 0 to 1: how much is over.
    double share() const {
        const double for_steps = limit_ - reserved_;
        return for_steps > 0 ? std::min(1.0, used() / for_steps) : 1.0;
    }
    /// Whether to end here is nearer to the limit than to end after a next piece of work of so many seconds.
    bool over(double next = 0) const { return used() + next / 2 >= limit_ - reserved_; }

  private:
    double limit_, before_ = 0, reserved_ = 0;
    Stopwatch watch_;
};

}  // namespace tvmap
