// What a grid is made of while it runs: threads, warps, blocks, clusters, and what they wait for.
#pragma once
#include <array>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <ostream>
#include <vector>

#include "kernels/emulation/worker.h"
#include "kernels/gpu/gpu.h"

namespace tvmap::emulation {

/// SplitMix64.
class Random {
  public:
    explicit Random(std::uint64_t state) : state_(state) {}
    std::uint64_t operator()() {
        std::uint64_t v = state_ += 0x9e3779b97f4a7c15u;
        v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
        v = (v ^ v >> 27) * 0x94d049bb133111ebu;
        return v ^ v >> 31;
    }
    /// 0 … count − 1, count < 2³².
    std::size_t below(std::size_t count) { return std::size_t(((*this)() >> 32) * count >> 32); }

  private:
    std::uint64_t state_;
};

struct Block;
struct Cluster;
struct Warp;

enum class Wait { no, block, cluster, warp, pause };

/// What threads wait for, and where in the source.
struct Meeting {
    const char* name = "";
    Where where;
};
std::ostream& operator<<(std::ostream& out, const Meeting& meeting);
bool same(const Where& a, const Where& b);

/// A thread, and what the scheduler keeps of it.
struct Fiber : Thread {
    Block* block = nullptr;
    Warp* warp = nullptr;
    Worker* worker = nullptr;  // once it runs
    Wait wait = Wait::no;
    Meeting meeting;  // it waits for
    // Brought to a meeting of the warp, and taken home.
    unsigned mask = 0, source = 0;
    std::uint64_t value = 0, received = 0;
    bool predicate = false;
    unsigned ballot = 0;
    bool is_barrier = false;  // the meeting, and orders accesses to memory
    Votes votes{};            // taken home from one of the block
};

/// The threads of a block that can run: first come, first served, or drawn.
class Ready {
  public:
    bool empty() const { return fibers_.empty(); }
    void add(Fiber* fiber) { fibers_.push_back(fiber); }
    Fiber* take(Random* random) {
        if (random != nullptr) {
            std::swap(fibers_.back(), fibers_[random->below(fibers_.size())]);
            Fiber* fiber = fibers_.back();
            fibers_.pop_back();
            return fiber;
        }
        Fiber* fiber = fibers_.front();
        fibers_.pop_front();
        return fiber;
    }

  private:
    std::deque<Fiber*> fibers_;
};

// alive: threads that have not returned; waiting: those of them that wait for the others. Of a warp, bits.

struct Warp {
    std::array<Fiber*, 32> lanes{};
    unsigned alive = 0, waiting = 0;
};

struct Block {
    explicit Block(const gpu::Launch& how);

    Cluster* cluster = nullptr;
    unsigned rank = 0;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    unsigned alive = 0, waiting = 0;
    Meeting meeting;  // of those that wait
    Votes votes{};
    Ready ready;
    std::unique_ptr<unsigned char, decltype(&std::free)> shared{nullptr, &std::free};
};

struct Cluster {
    std::vector<Block*> blocks;
    unsigned alive = 0, waiting = 0;
    Meeting meeting;
};

}  // namespace tvmap::emulation
