// Wall-clock time.
#pragma once
#include <chrono>

#include "kernels/backend.h"

namespace tvmap {

/// Runs from its construction. Threads may share it.
class Stopwatch {
  public:
    double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point start_ = Clock::now();
};

/// Seconds from the start of `work` until the backend has carried it out; nothing else may be queued.
template <class Work>
double seconds_of(Backend& backend, const Work& work) {
    const Stopwatch watch;
    work();
    backend.synchronise();
    return watch.seconds();
}

}  // namespace tvmap
