// One launch on the emulated device: its threads, who runs next (scheduler.cpp), and what they say to each other
// (meetings.cpp).
#pragma once
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/emulation/block.h"
#include "kernels/emulation/post.h"
#include "kernels/emulation/worker.h"

namespace tvmap::emulation {

/// Thrown through the kernels of threads that wait when another has failed.
struct Abandoned {};

/// One launch, and who runs next.
class Grid {
  public:
    Grid(const gpu::Launch& how, const std::function<void()>& thread);
    ~Grid();
    void run();

    Fiber* current = nullptr;

    Votes meet_block(const char* barrier, bool predicate, Where where);
    void meet_cluster(Where where);
    void meet_warp(unsigned mask, Where where, bool is_barrier);
    void* cluster_shared(void* here, unsigned rank);
    void open_mailbox(void* mailbox);
    void expect_bytes(void* mailbox, unsigned bytes);
    void send_word(void* place, std::uint32_t word, void* mailbox);
    void receive_phase(void* mailbox, unsigned phase, Where where);
    void pause(const Meeting& meeting);
    void polled();
    void published(bool changed);

    /// Throws Error naming the kernel and the running thread.
    template <class... Parts>
    [[noreturn]] void fail_here(const Parts&... parts) const {
        const uint3 t = current->thread_index, b = current->block_index;
        fail("kernel ", how_.name, ": thread (", t.x, ", ", t.y, ", ", t.z, ") of block (", b.x, ", ", b.y,
             ", ", b.z, "): ", parts...);
    }

  private:
    void work(Worker& worker);
    Fiber* successor();
    void place_next(Cluster& slot);
    Fiber* pick();
    Fiber* next();
    void leave();
    void make_ready(Fiber* fiber) {
        fiber->wait = Wait::no;
        fiber->block->ready.add(fiber);
    }
    void wake_pausing();
    void returned(Fiber& fiber);
    void ended(Block& block);
    const Block& block_of(const void* address, const char* call) const;
    void check(const char* call, const std::string& wrong) const;
    void release_if_all_wait(Block& block);
    void release_if_all_wait(Cluster& cluster);
    void release_if_all_wait(Warp& warp, unsigned mask);
    void let_go(Fiber* fiber, bool ordered = true);
    void observe_meeting();
    void abandon();
    [[noreturn]] void fail_deadlock() const;
    Random* random() { return seeded_ ? &random_ : nullptr; }

    static constexpr int most_idle_rounds = 1000, most_polls = 1 << 22;

    const gpu::Launch& how_;
    const std::function<void()>& thread_;
    const bool seeded_;
    Random random_;
    std::size_t switch_every_ = 0;  // threads; how long a block keeps the focus. 0: while it can run
    std::vector<std::unique_ptr<Block>> blocks_;  // resident
    std::vector<Cluster> slots_;
    std::vector<std::uint32_t> order_;  // of the grid's clusters
    std::size_t placed_ = 0;            // of them, so far
    std::size_t focus_ = 0;
    unsigned alive_ = 0;
    std::vector<Fiber*> pausing_;
    Post post_;
    std::vector<std::size_t> met_;  // whose order is observed
    Fiber* handed_over_ = nullptr;  // by a worker that is done: to run next
    std::uint64_t progress_ = 0, progress_seen_ = 0;
    int idle_rounds_ = 0, polls_ = 0;
    bool abandoned_ = false;
    std::exception_ptr failure_;
};

/// The launch that runs; null between launches.
extern Grid* grid;

}  // namespace tvmap::emulation
