// Where a thread runs and how much of its time it gets, for threads that work side by side. Beside other work Linux
// may leave two of them on one processor, or one waiting behind another process while a processor has nothing to do,
// for longer than a training step takes.
#pragma once
#include <sched.h>
#include <sys/types.h>
#include <time.h>

namespace tvmap {

/// A thread that is at work, as its fellows see it. They may ask at once; it must be running still.
class RunningThread {
  public:
    /// The calling thread, from now on.
    RunningThread();

    /// The processor that it began on.
    int processor() const { return processor_; }

    /// Seconds since it began, and those of them in which it was given a processor.
    struct Times {
        double passed = 0, used = 0;
    };
    Times times() const;

    /// Moves it to this processor, if it may run there. Where it may run stays as it was.
    void move_to(int processor) const;

  private:
    int processor_;
    pid_t thread_;
    clockid_t clock_;  // of its time on a processor
    double began_, used_before_;
};

/// Moves the calling thread away from `processors`, if it may run on another. Where it may run stays as it was.
void leave_processors(const cpu_set_t& processors);

}  // namespace tvmap
