// In which order a launch's threads touch memory, told to whoever observes it (tests/happens_before/): what a
// barrier, a flag or a fence orders on a GPU. Fibers run one after the other, so nothing here depends on it;
// nothing is done while nobody observes.
//
// A primitive hands its order over through an object in memory, known by its address. An asynchronous store
// that arrives at an mbarrier is
//     { const order::Asynchronous operation; *remote = value; order::release(mbarrier); }
// and the wait for the mbarrier, once it is over, order::acquire(mbarrier). What they read and write of the
// object itself goes through strong() (kernels/emulation/device.h), after order::update() where it is one
// update, or the object's state would look like a race.
#pragma once
#include <cstddef>
#include <vector>

namespace tvmap::emulation::order {

/// Threads are known by their numbers within the launch (Thread::number).
class Observer {
  public:
    virtual ~Observer() = default;
    virtual void launch_begins(const char* kernel, std::size_t threads) = 0;
    /// A block of so many threads gets its shared memory.
    virtual void block_begins(std::size_t first_thread, std::size_t threads, void* shared,
                              std::size_t bytes) = 0;
    /// All its threads have returned.
    virtual void block_ends(void* shared) = 0;

    /// What each of these did so far comes before what any of them does from now on.
    virtual void meet(const std::vector<std::size_t>& threads) = 0;

    // By the running thread.
    virtual void release(const void* object) = 0;
    virtual void acquire(const void* object) = 0;
    virtual void update(const void* object) = 0;
    virtual void fence() = 0;
    virtual void detach() = 0;
    virtual void attach() = 0;

    // Mailboxes (kernels/gpu/gpu_mailbox.h), by the running thread: it opens one, or does anything else with it.
    virtual void opens(const void* mailbox, std::size_t bytes) = 0;
    virtual void uses(const void* mailbox, std::size_t bytes) = 0;
    /// It starts an operation that writes so many bytes at a place and counts them in a mailbox. Answers with the
    /// message's number.
    virtual std::size_t sends(const void* place, std::size_t bytes, const void* mailbox,
                              std::size_t mailbox_bytes) = 0;
    /// The message is in its place, and the operation releases this object.
    virtual void arrives(std::size_t message, const void* object) = 0;
};
inline Observer* observer = nullptr;

/// What the running thread did so far comes before what others do once they acquire the object. Earlier
/// releases of it stay in force. (A volatile store to it that is no update ends them all.)
inline void release(const void* object) {
    if (observer != nullptr) observer->release(object);
}
inline void acquire(const void* object) {
    if (observer != nullptr) observer->acquire(object);
}
/// The running thread is about to read and write the object as one: releases of it stay in force.
inline void update(const void* object) {
    if (observer != nullptr) observer->update(object);
}
/// Orders what comes before and after it as far as relaxed accesses to a common object connect two fences.
inline void fence() {
    if (observer != nullptr) observer->fence();
}

/// While it lives, the running thread's accesses and releases are those of an operation that it has started:
/// they come after what the thread did, but not before what it does next.
class Asynchronous {
  public:
    Asynchronous() {
        if (observer != nullptr) observer->detach();
    }
    ~Asynchronous() {
        if (observer != nullptr) observer->attach();
    }
    Asynchronous(const Asynchronous&) = delete;
    Asynchronous& operator=(const Asynchronous&) = delete;
};

}  // namespace tvmap::emulation::order
