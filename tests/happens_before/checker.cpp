#include "tests/happens_before/checker.h"

#include <bit>
#include <utility>

#include "kernels/base/error.h"
#include "kernels/emulation/control.h"

namespace happens_before {
namespace {

namespace order = tvmap::emulation::order;
using tvmap::text;
using tvmap::emulation::running;

constexpr std::size_t most_races = 8;  // that are described

Checker* current = nullptr;

std::string verb(Kind kind) {
    return std::string(kind.write ? "writes" : "reads") + (kind.strong ? " (strong)" : "");
}

}  // namespace

Checker::Checker() : before_(current) { order::observer = current = this; }
Checker::~Checker() { order::observer = current = before_; }

// ---- launches and blocks ----

void Checker::launch_begins(const char* kernel, std::size_t threads) {
    kernel_ = kernel;
    agents_.assign(2 * threads, {});
    memory_.clear();
    objects_.clear();
    messages_.clear();
    last_found_ = nullptr;
    detached_ = false;
    tvmap::emulation::visit_memory([&](void* memory, std::size_t bytes) {
        const auto begin = reinterpret_cast<std::uintptr_t>(memory);
        memory_[begin] = {.begin = begin, .bytes = bytes};
    });
}

void Checker::block_begins(std::size_t first_thread, std::size_t threads, void* shared, std::size_t bytes) {
    block_threads_ = threads;
    const auto begin = reinterpret_cast<std::uintptr_t>(shared);
    if (bytes == 0) return;
    memory_[begin] = {
        .begin = begin, .bytes = bytes, .shared = true, .first_thread = first_thread, .threads = threads};
}

/// Accesses by other blocks' threads must have come before the end of one of the block's own.
void Checker::block_ends(void* shared) {
    const auto found = memory_.find(reinterpret_cast<std::uintptr_t>(shared));
    if (found == memory_.end()) return;
    Memory& memory = found->second;
    memory.ended = true;
    if (!memory.visited) return;
    Join ends;
    for (std::size_t t = memory.first_thread; t < memory.first_thread + memory.threads; ++t)
        ends.add(agents_[agent_of(t)].known).add(agent_of(t), agents_[agent_of(t)].now);
    const Clock end = ends.clock();
    for (std::size_t w = 0; w < memory.words.size(); ++w)
        for (const std::vector<Access>* accesses : {&memory.words[w].writes, &memory.words[w].reads})
            for (const Access& access : *accesses)
                if (access.time > end[access.agent])
                    report(text(name(access.agent), ' ', verb(access.kind), ' ',
                                place(memory, w * word_bytes, word_bytes),
                                ", whose threads may have returned by then"));
}

// ---- what orders ----

void Checker::meet(const std::vector<std::size_t>& threads) {
    Join join;
    for (const std::size_t t : threads) join.add(agents_[agent_of(t)].known);
    for (const std::size_t t : threads) join.add(agent_of(t), agents_[agent_of(t)].now++);
    const Clock known = join.clock();
    for (const std::size_t t : threads) agents_[agent_of(t)].known = known;
}

void Checker::release(const void* object) {
    AgentState& agent = agents_[self()];
    Clock& clock = objects_[object];
    clock = Join().add(clock).add(agent.known).add(self(), agent.now++).clock();
}

void Checker::acquire(const void* object) {
    AgentState& agent = agents_[self()];
    const auto found = objects_.find(object);
    if (found != objects_.end()) agent.known = Join().add(agent.known).add(found->second).clock();
}

void Checker::update(const void* object) { agents_[self()].updating = object; }

void Checker::fence() {
    AgentState& agent = agents_[self()];
    agent.known = Join().add(agent.known).add(agent.pending).clock();
    agent.pending = {};
    agent.fenced = Join().add(agent.known).add(self(), agent.now++).clock();
}

void Checker::strong_access(const void* object, bool write) {
    AgentState& agent = agents_[self()];
    const auto found = objects_.find(object);
    if (!write) {
        if (found != objects_.end()) agent.pending = Join().add(agent.pending).add(found->second).clock();
        return;
    }
    const bool keeps = std::exchange(agent.updating, nullptr) == object && found != objects_.end();
    Join left;
    if (keeps) left.add(found->second);
    objects_[object] = left.add(agent.fenced).clock();
}

void Checker::detach() {
    AgentState& thread = agents_[self()];
    Join start;
    start.add(thread.known).add(self(), thread.now++);
    detached_ = true;
    Clock& known = agents_[self()].known;
    known = start.add(known).clock();
}
void Checker::attach() { detached_ = false; }

void Checker::opens(const void* mailbox, std::size_t bytes) { visit(mailbox, bytes, {.write = true}); }
void Checker::uses(const void* mailbox, std::size_t bytes) {
    visit(mailbox, bytes, {.write = true, .strong = true});
}

std::size_t Checker::sends(const void* place, std::size_t bytes, const void* mailbox,
                           std::size_t mailbox_bytes) {
    detach();
    visit(place, bytes, {.write = true});
    uses(mailbox, mailbox_bytes);
    AgentState& operation = agents_[self()];
    messages_.push_back(Join().add(operation.known).add(self(), operation.now++).clock());
    attach();
    return messages_.size() - 1;
}

void Checker::arrives(std::size_t message, const void* object) {
    Clock& clock = objects_[object];
    clock = Join().add(clock).add(std::exchange(messages_[message], {})).clock();
}

// ---- accesses ----

void Checker::access(const void* address, std::size_t bytes, Kind kind) {
    if (current == nullptr || running == nullptr) return;
    const auto begin = reinterpret_cast<std::uintptr_t>(address);
    Memory* memory = current->find(begin);
    if (memory == nullptr) return;
    if (kind.strong) current->strong_access(address, kind.write);
    current->visit(*memory, begin, bytes, kind);
}

void Checker::visit(const void* address, std::size_t bytes, Kind kind) {
    const auto begin = reinterpret_cast<std::uintptr_t>(address);
    if (Memory* memory = find(begin)) visit(*memory, begin, bytes, kind);
}

Checker::Memory* Checker::find(std::uintptr_t address) {
    if (last_found_ != nullptr && last_found_->has(address)) return last_found_;
    auto after = memory_.upper_bound(address);
    if (after == memory_.begin()) return nullptr;
    Memory& memory = (--after)->second;
    return memory.has(address) ? last_found_ = &memory : nullptr;
}

void Checker::visit(Memory& memory, std::uintptr_t address, std::size_t bytes, Kind kind) {
    ++access_count_;
    const Agent agent = self();
    const std::size_t begin = address - memory.begin, end = std::min(begin + bytes, memory.bytes);
    if (memory.shared && !memory.belongs_to(thread_of(agent))) {
        memory.visited = true;
        bool started = false;
        for (std::size_t t = memory.first_thread; !started && t < memory.first_thread + memory.threads; ++t)
            started = agents_[agent].known[agent_of(t)] > 0;
        if (!started || memory.ended)
            report(text(name(agent), ' ', verb(kind), ' ', place(memory, begin, bytes),
                        memory.ended ? ", whose threads have returned" : ", which may not have started"));
    }
    if (memory.words.empty()) memory.words.resize((memory.bytes + word_bytes - 1) / word_bytes);
    for (std::size_t at = begin; at < end;) {
        const std::size_t word = at / word_bytes, next = std::min((word + 1) * word_bytes, end);
        const unsigned mask = ((1u << (next - at)) - 1) << at % word_bytes;
        access_word(memory, word, {agent, agents_[agent].now, static_cast<unsigned char>(mask), kind});
        at = next;
    }
}

void Checker::access_word(Memory& memory, std::size_t word, const Access& access) {
    auto& [writes, reads] = memory.words[word];
    look_for_races(writes, access, memory, word);
    if (!access.kind.write) return remember(reads, access);
    look_for_races(reads, access, memory, word);
    std::erase_if(reads, [&](const Access& old) { return superseded(old, access); });
    std::erase_if(writes, [&](const Access& old) { return superseded(old, access); });
    writes.push_back(access);
}

void Checker::look_for_races(const std::vector<Access>& earlier, const Access& access, const Memory& memory,
                             std::size_t word) {
    for (const Access& other : earlier) {
        const unsigned common = other.bytes & access.bytes;
        if (common == 0 || (other.kind.strong && access.kind.strong) || ordered(other, access.agent))
            continue;
        const auto first = std::size_t(std::countr_zero(common));
        report(text(name(other.agent), ' ', verb(other.kind), " and ", name(access.agent), ' ',
                    verb(access.kind), ' ',
                    place(memory, word * word_bytes + first, std::size_t(std::popcount(common)))));
        return;
    }
}

/// Many threads may read a word, and one many times: what is superseded goes when there is no room left.
void Checker::remember(std::vector<Access>& accesses, const Access& access) {
    if (!accesses.empty() && accesses.back().time == access.time && superseded(accesses.back(), access))
        accesses.pop_back();
    if (accesses.size() == accesses.capacity()) {
        std::erase_if(accesses, [&](const Access& old) { return superseded(old, access); });
        if (2 * accesses.size() >= accesses.capacity()) accesses.reserve(2 * accesses.size() + 2);
    }
    accesses.push_back(access);
}

// ---- reports ----

std::string Checker::name(Agent agent) const {
    const std::size_t thread = thread_of(agent);
    return text(agent % 2 != 0 ? "an operation of " : "", "thread ", thread % block_threads_, " of block ",
                thread / block_threads_);
}

std::string Checker::place(const Memory& memory, std::size_t offset, std::size_t bytes) const {
    const std::string what = memory.shared
                                 ? text("the shared memory of block ", memory.first_thread / block_threads_)
                                 : text(memory.bytes, " bytes of global memory");
    return text("bytes ", offset, " to ", offset + bytes - 1, " of ", what);
}

void Checker::report(const std::string& race) {
    if (++race_count_ <= most_races) races_ += text(kernel_, ": ", race, '\n');
}

}  // namespace happens_before
