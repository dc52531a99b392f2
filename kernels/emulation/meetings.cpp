// What the threads of a launch say to each other: barriers, shuffles, messages, flags.
#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "kernels/emulation/grid.h"
#include "kernels/emulation/mailbox.h"

namespace tvmap::emulation {

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

}  // namespace tvmap::emulation
