// A stack on which work runs until it has to wait, and goes on later: what a thread of a kernel is made of.
#pragma once
#include <boost/context/fiber.hpp>
#include <boost/context/stack_context.hpp>
#include <cstddef>

namespace tvmap::emulation {

/// Workers are never freed: idle ones wait for the next launch.
class Worker {
  public:
    using Work = void (*)(Worker& self);

    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Runs `work` on a worker that is idle; back when it leaves or ends. Not from within a worker.
    static void start(Work work);
    /// Goes on where it left, likewise.
    void resume();
    /// From within: back to the caller of start or resume.
    void leave();

  private:
    Worker();
    [[noreturn]] void serve();

    boost::context::stack_context stack_;
    boost::context::fiber other_side_;  // the one that does not run: ours, or the caller's
    Work work_ = nullptr;
    // What the address sanitizer wants to know about the side that does not run.
    void* fake_stack_ = nullptr;
    const void* caller_stack_ = nullptr;
    std::size_t caller_stack_bytes_ = 0;
};

/// Tells the address sanitizer that memory may (not) be touched; nothing without it.
void allow_access(void* memory, std::size_t bytes);
void forbid_access(void* memory, std::size_t bytes);

}  // namespace tvmap::emulation
