// Messages under way in a launch, and the mailboxes that count them (kernels/gpu/gpu_mailbox.h).
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/emulation/block.h"

namespace tvmap::emulation {

class Post {
  public:
    static constexpr std::size_t mailbox_bytes = 8;

    struct Message {
        void* word;
        std::uint32_t value;
        void* mailbox;
        std::size_t observed = 0;  // its number, to an observer
    };

    // These say what is wrong, or nothing. A mailbox's memory is that of its block.
    std::string open(void* mailbox);
    std::string expect(void* mailbox, unsigned bytes);
    /// The message is in its place, the bytes are counted.
    std::string land(std::size_t number);
    /// Whether the phase is over; it must be the one that goes on, or the one before.
    std::string ended(void* mailbox, unsigned phase, bool* over) const;

    void add(const Message& message) { under_way_.push_back(message); }
    const std::vector<Message>& under_way() const { return under_way_; }
    /// The numbers of those for a mailbox, oldest first.
    std::vector<std::size_t> to(const void* mailbox) const;
    /// Whether one is still to land in this memory.
    bool any_within(const void* memory, std::size_t bytes) const;
    /// The memory's mailboxes are no more.
    void close(const void* memory, std::size_t bytes);

    /// Stands for a phase of a mailbox among the objects that order accesses.
    static const void* phase_object(const void* mailbox, unsigned phase) {
        return static_cast<const char*>(mailbox) + phase % mailbox_bytes;
    }

  private:
    struct Mailbox {
        unsigned phase = 0;
        bool told = false;         // how many bytes the phase gets
        std::int64_t missing = 0;  // of them; those that came before it was told, negative
    };
    std::string find(const void* mailbox, const Mailbox** found) const;
    void end_if_complete(Mailbox& mailbox);

    std::map<std::uintptr_t, Mailbox> mailboxes_;
    std::vector<Message> under_way_;
};

}  // namespace tvmap::emulation
