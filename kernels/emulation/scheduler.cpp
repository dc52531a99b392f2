// Runs the threads of a launch as fibers, one at a time, each until it has to wait or returns. As many
// clusters of blocks as there are slots are resident together: all of a cooperative launch, else one, or with
// a seed a few. With a seed clusters come in a drawn order, and the next thread to run is drawn: among the
// ready ones of one block that keeps the focus for a drawn while, so that blocks also get far ahead of each
// other.
//
// Memory is sequentially consistent here, and a thread is interrupted only where it waits, publishes
// (atomics, store_release) or pauses. So what shows a missing barrier or flag is the order, drawn anew for
// every launch, or an observer (kernels/emulation/order.h).
#include "kernels/emulation/scheduler.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "kernels/emulation/grid.h"

namespace tvmap::emulation {

const Thread* running = nullptr;
Grid* grid = nullptr;

namespace {

unsigned seed = 0;
std::uint64_t launches = 0;  // since the seed was set

}  // namespace

Grid::Grid(const gpu::Launch& how, const std::function<void()>& thread)
    : how_(how), thread_(thread), seeded_(seed != 0), random_((std::uint64_t(seed) << 32) + launches++) {
    order_.resize(std::size_t(how.grid.x / how.cluster) * how.grid.y * how.grid.z);
    std::iota(order_.begin(), order_.end(), 0u);
    std::size_t slots = how.cooperative ? order_.size() : 1;
    if (seeded_) {
        for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random_.below(i)]);
        if (!how.cooperative)
            slots = std::min(order_.size(), std::array<std::size_t, 3>{1, 2, 4}[random_.below(3)]);
        switch_every_ = std::array<std::size_t, 4>{0, 1, 16, 1024}[random_.below(4)];
    }
    slots_.resize(slots);
    for (Cluster& slot : slots_)
        for (unsigned rank = 0; rank < how.cluster; ++rank) {
            blocks_.push_back(std::make_unique<Block>(how));
            blocks_.back()->cluster = &slot;
            blocks_.back()->rank = rank;
            slot.blocks.push_back(blocks_.back().get());
        }
    grid = this;
    if (order::observer != nullptr)
        order::observer->launch_begins(how.name, order_.size() * how.cluster * blocks_[0]->fibers.size());
}

Grid::~Grid() {
    for (const auto& block : blocks_) allow_access(block->shared.get(), how_.shared_bytes);
    grid = nullptr;
    running = nullptr;
}

void Grid::run() {
    try {
        for (Cluster& slot : slots_) place_next(slot);
        while (Fiber* fiber = handed_over_ != nullptr ? std::exchange(handed_over_, nullptr) : next()) {
            polls_ = 0;
            if (fiber->worker != nullptr) {
                fiber->worker->resume();
            } else {
                current = fiber;
                Worker::start([](Worker& worker) { grid->work(worker); });
            }
            if (failure_) std::rethrow_exception(failure_);
        }
    } catch (...) {
        failure_ = std::current_exception();
    }
    if (failure_) {
        abandon();
        std::rethrow_exception(failure_);
    }
}

/// The slot gets the cluster that is next in order, all threads ready; nothing where all have had their turn.
void Grid::place_next(Cluster& slot) {
    if (placed_ == order_.size()) return;
    std::uint64_t number = std::uint64_t(order_[placed_++]) * slot.blocks.size();
    const std::uint64_t x = how_.grid.x, y = how_.grid.y;
    for (Block* block : slot.blocks) {
        const uint3 index = {unsigned(number % x), unsigned(number / x % y), unsigned(number / (x * y))};
        allow_access(block->shared.get(), how_.shared_bytes);
        std::memset(block->shared.get(), 0xff, how_.shared_bytes);
        block->alive = unsigned(block->fibers.size());
        slot.alive += block->alive;
        std::size_t thread = std::size_t(number) * block->fibers.size();
        if (order::observer != nullptr)
            order::observer->block_begins(thread, block->fibers.size(), block->shared.get(),
                                          how_.shared_bytes);
        for (Fiber& fiber : block->fibers) {
            fiber.block_index = index;
            fiber.number = thread++;
            fiber.warp->alive |= 1u << fiber.lane;
            make_ready(&fiber);
        }
        ++number;
    }
    alive_ += slot.alive;
}

/// A thread that can run now, if any.
Fiber* Grid::pick() {
    const std::size_t blocks = blocks_.size();
    if (blocks > 1 && switch_every_ != 0 && random_.below(switch_every_) == 0) focus_ = random_.below(blocks);
    for (std::size_t i = 0; i < blocks; ++i) {
        const std::size_t b = (focus_ + i) % blocks;
        if (blocks_[b]->ready.empty()) continue;
        focus_ = b;
        return blocks_[b]->ready.take(random());
    }
    return nullptr;
}

/// The thread to run next; null when all have returned.
Fiber* Grid::next() {
    for (;;) {
        if (Fiber* fiber = pick()) return fiber;
        if (alive_ == 0) return nullptr;
        if (pausing_.empty()) fail_deadlock();
        if (progress_ != progress_seen_) idle_rounds_ = 0;
        if (++idle_rounds_ > most_idle_rounds) fail_deadlock();
        progress_seen_ = progress_;
        wake_pausing();
    }
}

void Grid::wake_pausing() {
    for (Fiber* fiber : pausing_) make_ready(fiber);
    pausing_.clear();
}

// ---- inside a worker ----

/// Runs the current thread, and others after it.
void Grid::work(Worker& worker) {
    for (Fiber* fiber = current; fiber != nullptr; fiber = successor()) {
        fiber->worker = &worker;
        running = current = fiber;
        try {
            thread_();
        } catch (const Abandoned&) {
        } catch (...) {
            failure_ = std::current_exception();
        }
        fiber->worker = nullptr;
        running = nullptr;
        if (!abandoned_ && !failure_) returned(*fiber);
    }
}

/// After a thread has returned: another that can be run on the same stack. Null where there is none; one that
/// has a stack is handed to the launcher.
Fiber* Grid::successor() {
    if (abandoned_ || failure_) return nullptr;
    Fiber* fiber = pick();
    if (fiber == nullptr || fiber->worker == nullptr) return fiber;
    handed_over_ = fiber;
    return nullptr;
}

/// Lets others run until this thread is ready and its turn comes.
void Grid::leave() {
    Fiber* me = current;
    me->worker->leave();
    if (abandoned_) throw Abandoned();
    running = current = me;
}

void Grid::returned(Fiber& fiber) {
    ++progress_;
    --alive_;
    Block& block = *fiber.block;
    Warp& warp = *fiber.warp;
    warp.alive &= ~(1u << fiber.lane);
    for (Fiber* lane : warp.lanes)
        if (lane != nullptr && warp.waiting >> lane->lane & 1) release_if_all_wait(warp, lane->mask);
    --block.alive;
    release_if_all_wait(block);
    --block.cluster->alive;
    release_if_all_wait(*block.cluster);
    if (block.alive == 0) ended(block);
    if (block.cluster->alive == 0) place_next(*block.cluster);
}

void Grid::ended(Block& block) {
    if (order::observer != nullptr) order::observer->block_ends(block.shared.get());
    if (post_.any_within(block.shared.get(), how_.shared_bytes))
        failure_ = std::make_exception_ptr(Error(text("kernel ", how_.name, ": block ", block.rank,
                                                      " of a cluster has returned while a message to it"
                                                      " is under way")));
    post_.close(block.shared.get(), how_.shared_bytes);
    // Other blocks of the cluster must not read what an ended one had.
    if (block.cluster->alive == 0) return;
    std::memset(block.shared.get(), 0xff, how_.shared_bytes);
    forbid_access(block.shared.get(), how_.shared_bytes);
}

// ---- failures ----

/// Unwinds the threads that wait.
void Grid::abandon() {
    abandoned_ = true;
    for (const auto& block : blocks_) {
        allow_access(block->shared.get(), how_.shared_bytes);
        for (Fiber& fiber : block->fibers)
            if (fiber.worker != nullptr) fiber.worker->resume();
    }
}

void Grid::fail_deadlock() const {
    std::map<std::string, int> waiting;
    for (const auto& block : blocks_)
        for (const Fiber& fiber : block->fibers)
            if (fiber.wait != Wait::no) ++waiting[text(fiber.meeting)];
    std::string where;
    for (const auto& [meeting, threads] : waiting)
        where += text(where.empty() ? "" : ", ", threads, " at ", meeting);
    fail("kernel ", how_.name, ": deadlock: ", alive_, " threads of ", blocks_.size(),
         " resident block(s) wait for what does not come: ", where);
}

// ---- what the runtime calls ----

void set_seed(unsigned value) {
    seed = value;
    launches = 0;
}

void run(const gpu::Launch& how, const std::function<void()>& thread) { Grid(how, thread).run(); }

}  // namespace tvmap::emulation
