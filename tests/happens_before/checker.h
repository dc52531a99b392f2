// Finds accesses to memory that nothing orders, in kernels that run on the emulation: vector clocks along
// what kernels/emulation/order.h tells, and for every word of memory the accesses that later ones could race
// with. The order in which fibers happened to run does not matter.
//
// A race is two accesses to a byte by different threads, one of them at least a write, not both strong
// (volatile, atomic, flags), neither of which happens before the other. What orders, as PTX has it:
//     __syncthreads and its votes, cluster barriers, __syncwarp of a mask's lanes    among those who meet
//     store_release of a flag, then load_acquire of it                               one after the other
//     __threadfence, a strong write, a strong read of it, __threadfence              likewise
//     a message's arrival in a phase of a mailbox, then receive() of that phase      likewise
// Atomic updates of a flag keep earlier releases of it in force, other strong writes end them. No order comes
// from shuffles, votes of a warp, __nanosleep, a thread's return, or strong accesses without fences.
//
// Shared memory of another block of the cluster, besides: an access must come after something that a thread
// of that block did (it has started), and before the end of one of its threads (it has not ended). A message
// is an access of its own, which comes after what its sender did before, and not before what that does next.
// To open a mailbox must come before any other use of it.
//
// Not modelled:
// - scopes: strong accesses, flags and __threadfence reach the whole GPU, as those of kernels/gpu/gpu.h do;
//   __threadfence_block is taken to order nothing, not even within its block;
// - values: a strong read is taken to see the last write before it, as it does on the emulation, and a failed
//   atomicCAS to write. So what ran is judged with the values that its flags had, though for every order that
//   barriers and those values allow;
// - strong accesses that overlap in part, which PTX lets race;
// - the order among asynchronous operations of one thread: theirs is that of their start.
// Launches are judged one by one: those of a stream follow each other.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/emulation/device.h"
#include "kernels/emulation/order.h"
#include "tests/happens_before/clock.h"

namespace happens_before {

struct Kind {
    bool write = false, strong = false;
};

/// Observes the launches of its lifetime, instead of the checker that did so before.
class Checker : public tvmap::emulation::order::Observer {
  public:
    Checker();
    ~Checker() override;
    Checker(const Checker&) = delete;
    Checker& operator=(const Checker&) = delete;

    /// The first races, one a line; empty where there was none.
    const std::string& races() const { return races_; }
    std::size_t accesses() const { return access_count_; }

    /// By the running thread, if one is. Host memory is nobody's concern.
    static void access(const void* address, std::size_t bytes, Kind kind);

    void launch_begins(const char* kernel, std::size_t threads) override;
    void block_begins(std::size_t first_thread, std::size_t threads, void* shared,
                      std::size_t bytes) override;
    void block_ends(void* shared) override;
    void meet(const std::vector<std::size_t>& threads) override;
    void release(const void* object) override;
    void acquire(const void* object) override;
    void update(const void* object) override;
    void fence() override;
    void detach() override;
    void attach() override;
    void opens(const void* mailbox, std::size_t bytes) override;
    void uses(const void* mailbox, std::size_t bytes) override;
    std::size_t sends(const void* place, std::size_t bytes, const void* mailbox,
                      std::size_t mailbox_bytes) override;
    void arrives(std::size_t message, const void* object) override;

  private:
    /// A thread, or the operations that it has started.
    struct AgentState {
        Time now = 1;
        Clock known;    // what comes before its next access
        Clock fenced;   // what came before its last fence, and so before its strong writes since
        Clock pending;  // what its strong reads have seen, for the next fence
        const void* updating = nullptr;
    };
    /// To bytes of a word, as bits.
    struct Access {
        Agent agent;
        Time time;
        unsigned char bytes;
        Kind kind;
    };
    struct Word {
        std::vector<Access> writes, reads;
    };
    /// An allocation, or the shared memory of a block.
    struct Memory {
        std::uintptr_t begin = 0;
        std::size_t bytes = 0;
        bool shared = false, visited = false, ended = false;  // visited: by other blocks' threads
        std::size_t first_thread = 0, threads = 0;            // of the block
        std::vector<Word> words{};                            // once one of them is touched

        bool has(std::uintptr_t address) const { return address - begin < bytes; }
        bool belongs_to(std::size_t thread) const { return thread - first_thread < threads; }
    };

    static constexpr std::size_t word_bytes = 4;
    static std::size_t thread_of(Agent agent) { return agent / 2; }
    static Agent agent_of(std::size_t thread, bool detached = false) { return Agent(2 * thread + detached); }
    Agent self() const { return agent_of(tvmap::emulation::running->number, detached_); }

    Memory* find(std::uintptr_t address);
    void visit(const void* address, std::size_t bytes, Kind kind);
    void visit(Memory& memory, std::uintptr_t address, std::size_t bytes, Kind kind);
    void access_word(Memory& memory, std::size_t word, const Access& access);
    void look_for_races(const std::vector<Access>& earlier, const Access& access, const Memory& memory,
                        std::size_t word);
    void remember(std::vector<Access>& accesses, const Access& access);
    void strong_access(const void* object, bool write);

    bool ordered(const Access& before, Agent agent) const {
        return before.agent == agent || before.time <= agents_[agent].known[before.agent];
    }
    /// Whether what could race with the first could race with the second, which comes after it, too.
    bool superseded(const Access& old, const Access& by) const {
        return (old.bytes & ~by.bytes) == 0 && old.kind.write <= by.kind.write &&
               old.kind.strong >= by.kind.strong && ordered(old, by.agent);
    }

    std::string name(Agent agent) const;
    std::string place(const Memory& memory, std::size_t offset, std::size_t bytes) const;
    void report(const std::string& race);

    Checker* before_;
    std::string kernel_;
    std::size_t block_threads_ = 1;
    bool detached_ = false;
    std::vector<AgentState> agents_;
    std::map<std::uintptr_t, Memory> memory_;  // by its first address
    Memory* last_found_ = nullptr;
    std::map<const void*, Clock> objects_;  // what their acquirers get to know
    std::vector<Clock> messages_;           // what came before each, and itself
    std::size_t access_count_ = 0, race_count_ = 0;
    std::string races_;
};

}  // namespace happens_before
