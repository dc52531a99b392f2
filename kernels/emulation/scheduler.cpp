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
#include <bit>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/emulation/block.h"
#include "kernels/emulation/mailbox.h"
#include "kernels/emulation/post.h"
#include "kernels/emulation/worker.h"

namespace tvmap::emulation {

const Thread* running = nullptr;

namespace {

unsigned seed = 0;
std::uint64_t launches = 0;  // since the seed was set

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

Grid* grid = nullptr;

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

// ---- meetings ----

Votes Grid::meet_block(const char* barrier, bool predicate, Where where) {
    Fiber& me = *current;
    Block& block = *me.block;
    if (block.waiting == 0) {
        block.meeting = {barrier, where};
        block.votes = {};
    }
    if (!same(block.meeting.where, where))
        fail_here("is at ", Meeting{barrier, where}, " while others of its block wait at ", block.meeting,
                  ": all threads of a block must meet at the same barrier");
    me.wait = Wait::block;
    me.meeting = {barrier, where};
    block.votes.yes += predicate;
    ++block.waiting;
    release_if_all_wait(block);
    leave();
    return me.votes;
}

void Grid::release_if_all_wait(Block& block) {
    if (block.waiting == 0 || block.waiting < block.alive) return;
    block.votes.all = int(block.waiting);
    block.waiting = 0;
    ++progress_;
    for (Fiber& fiber : block.fibers)
        if (fiber.wait == Wait::block) {
            fiber.votes = block.votes;
            let_go(&fiber);
        }
    observe_meeting();
}

void Grid::meet_cluster(Where where) {
    Fiber& me = *current;
    Cluster& cluster = *me.block->cluster;
    const Meeting meeting{"cluster_barrier", where};
    if (cluster.waiting == 0) cluster.meeting = meeting;
    if (!same(cluster.meeting.where, where))
        fail_here("is at ", meeting, " while others of its cluster wait at ", cluster.meeting,
                  ": all threads of a cluster must meet at the same barrier");
    me.wait = Wait::cluster;
    me.meeting = meeting;
    ++cluster.waiting;
    release_if_all_wait(cluster);
    leave();
}

void Grid::release_if_all_wait(Cluster& cluster) {
    if (cluster.waiting == 0 || cluster.waiting < cluster.alive) return;
    cluster.waiting = 0;
    ++progress_;
    for (Block* block : cluster.blocks)
        for (Fiber& fiber : block->fibers)
            if (fiber.wait == Wait::cluster) let_go(&fiber);
    observe_meeting();
}

/// The lanes in `mask` exchange what they brought: value and source, or predicate.
void Grid::meet_warp(unsigned mask, Where where, bool is_barrier) {
    Fiber& me = *current;
    Warp& warp = *me.warp;
    me.meeting = {"a shuffle, a vote or __syncwarp", where};
    if ((mask >> me.lane & 1) == 0) fail_here("its lane ", me.lane, " is not in the mask of ", me.meeting);
    for (unsigned waiting = warp.waiting; waiting != 0; waiting &= waiting - 1) {
        const Fiber* other = warp.lanes[std::size_t(std::countr_zero(waiting))];
        const bool concerns_both = (mask >> other->lane & 1) != 0 || (other->mask >> me.lane & 1) != 0;
        if (concerns_both && (other->mask != mask || !same(other->meeting.where, where)))
            fail_here("is at ", me.meeting, " while lane ", other->lane, " of its warp waits at ",
                      other->meeting, ": all lanes of a mask must meet at the same place with the same mask");
        if (other->mask == mask) break;  // who waits with it has been compared with it
    }
    me.wait = Wait::warp;
    me.mask = mask;
    me.is_barrier = is_barrier;
    warp.waiting |= 1u << me.lane;
    release_if_all_wait(warp, mask);
    leave();
}

void Grid::release_if_all_wait(Warp& warp, unsigned mask) {
    const unsigned expected = mask & warp.alive;
    if (expected == 0 || (warp.waiting & expected) != expected) return;
    unsigned votes = 0;
    for (const Fiber* lane : warp.lanes)
        if (lane != nullptr && (expected >> lane->lane & 1) != 0 && lane->predicate)
            votes |= 1u << lane->lane;
    for (Fiber* lane : warp.lanes) {
        if (lane == nullptr || (expected >> lane->lane & 1) == 0) continue;
        const bool there = lane->source < 32 && (expected >> lane->source & 1) != 0;
        lane->received = there ? warp.lanes[lane->source]->value : ~std::uint64_t(0);
        lane->ballot = votes;
        let_go(lane, lane->is_barrier);
    }
    observe_meeting();
    warp.waiting &= ~expected;
    ++progress_;
}

/// From a meeting, which orders accesses to memory unless it is a shuffle or a vote.
void Grid::let_go(Fiber* fiber, bool ordered) {
    make_ready(fiber);
    if (ordered && order::observer != nullptr) met_.push_back(fiber->number);
}

void Grid::observe_meeting() {
    if (met_.empty()) return;
    order::observer->meet(met_);
    met_.clear();
}

void* Grid::cluster_shared(void* here, unsigned rank) {
    const Block& block = *current->block;
    const std::vector<Block*>& blocks = block.cluster->blocks;
    const std::ptrdiff_t offset = static_cast<unsigned char*>(here) - block.shared.get();
    if (offset < 0 || std::size_t(offset) > how_.shared_bytes)
        fail_here("cluster_shared() of an address that is not in the block's shared memory");
    if (rank >= blocks.size())
        fail_here("cluster_shared() of rank ", rank, " in a cluster of ", blocks.size());
    if (blocks[rank]->alive == 0) fail_here("cluster_shared() of block ", rank, ", which has returned");
    return blocks[rank]->shared.get() + offset;
}

// ---- messages ----

const Block& Grid::block_of(const void* address, const char* call) const {
    for (const Block* block : current->block->cluster->blocks) {
        if (std::size_t(static_cast<const unsigned char*>(address) - block->shared.get()) >=
            how_.shared_bytes)
            continue;
        if (block->alive == 0) fail_here(call, " to block ", block->rank, ", which has returned");
        return *block;
    }
    fail_here(call, " with an address outside of the cluster's shared memory");
}

void Grid::check(const char* call, const std::string& wrong) const {
    if (!wrong.empty()) fail_here(call, ": ", wrong);
}

void Grid::open_mailbox(void* mailbox) {
    if (&block_of(mailbox, "open()") != current->block) fail_here("open() of another block's mailbox");
    check("open()", post_.open(mailbox));
    if (order::observer != nullptr) order::observer->opens(mailbox, Post::mailbox_bytes);
}

void Grid::expect_bytes(void* mailbox, unsigned bytes) {
    if (&block_of(mailbox, "expect()") != current->block) fail_here("expect() of another block's mailbox");
    check("expect()", post_.expect(mailbox, bytes));
    if (order::observer != nullptr) order::observer->uses(mailbox, Post::mailbox_bytes);
    ++progress_;
}

void Grid::send_word(void* place, std::uint32_t word, void* mailbox) {
    if (&block_of(place, "send()") != &block_of(mailbox, "send()"))
        fail_here("send() of a word to one block and its bytes to another's mailbox");
    if (how_.cluster < 2) fail_here("send() in a cluster of one block");
    Post::Message message{place, word, mailbox};
    if (order::observer != nullptr)
        message.observed = order::observer->sends(place, sizeof word, mailbox, Post::mailbox_bytes);
    post_.add(message);
    ++progress_;
    while (seeded_ && !post_.under_way().empty() && random_.below(2) == 0)
        check("send()", post_.land(random_.below(post_.under_way().size())));
}

void Grid::receive_phase(void* mailbox, unsigned phase, Where where) {
    if (&block_of(mailbox, "receive()") != current->block) fail_here("receive() of another block's mailbox");
    for (bool over = false;;) {
        check("receive()", post_.ended(mailbox, phase, &over));
        if (over) break;
        const std::vector<std::size_t> messages = post_.to(mailbox);
        if (messages.empty())
            pause({"receive()", where});
        else
            check("receive()", post_.land(messages[seeded_ ? random_.below(messages.size()) : 0]));
    }
    if (order::observer == nullptr) return;
    order::observer->uses(mailbox, Post::mailbox_bytes);
    order::observer->acquire(Post::phase_object(mailbox, phase));
}

void Grid::pause(const Meeting& meeting) {
    current->wait = Wait::pause;
    current->meeting = meeting;
    pausing_.push_back(current);
    leave();
}

void Grid::polled() {
    if (++polls_ > most_polls) fail_here("waits for a flag without pause()");
}

void Grid::published(bool changed) {
    if (!changed) return polled();  // such as the attempts to take a lock
    ++progress_;
    if (!seeded_ || blocks_.size() == 1) return;
    wake_pausing();
    if (random_.below(2) == 0) return;
    focus_ = random_.below(blocks_.size());
    make_ready(current);
    leave();
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

}  // namespace

// ---- what kernels call ----

Votes meet_block(const char* barrier, bool predicate, Where where) {
    return grid->meet_block(barrier, predicate, where);
}
void meet_cluster(Where where) { grid->meet_cluster(where); }
void meet_warp(unsigned mask, Where where) { grid->meet_warp(mask, where, true); }

std::uint64_t exchange(unsigned mask, std::uint64_t value, unsigned source, Where where) {
    Fiber& me = *grid->current;
    me.value = value;
    me.source = source;
    grid->meet_warp(mask, where, false);
    return me.received;
}
unsigned ballot(unsigned mask, bool predicate, Where where) {
    Fiber& me = *grid->current;
    me.predicate = predicate;
    grid->meet_warp(mask, where, false);
    return me.ballot;
}

void* shared_memory() { return grid->current->block->shared.get(); }
void* cluster_shared(void* here, unsigned rank) { return grid->cluster_shared(here, rank); }
unsigned cluster_rank() { return grid->current->block->rank; }
void open_mailbox(void* mailbox) { grid->open_mailbox(mailbox); }
void expect_bytes(void* mailbox, unsigned bytes) { grid->expect_bytes(mailbox, bytes); }
void send_word(void* place, std::uint32_t word, void* mailbox) { grid->send_word(place, word, mailbox); }
void receive_phase(void* mailbox, unsigned phase, Where where) { grid->receive_phase(mailbox, phase, where); }
void pause() { grid->pause({"pause()", Where::current()}); }
void polled() { grid->polled(); }
void published(bool changed) { grid->published(changed); }
void trap(const char* why) { grid->fail_here(why); }

// ---- what the runtime calls ----

void set_seed(unsigned value) {
    seed = value;
    launches = 0;
}

void run(const gpu::Launch& how, const std::function<void()>& thread) { Grid(how, thread).run(); }

}  // namespace tvmap::emulation
