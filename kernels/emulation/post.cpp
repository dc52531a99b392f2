#include "kernels/emulation/post.h"

#include <cstring>

#include "kernels/base/error.h"
#include "kernels/emulation/order.h"

namespace tvmap::emulation {
namespace {

/// What an open mailbox has in its memory.
constexpr std::uint64_t seal = 0x6d61696c626f7821u;
constexpr std::int64_t most_bytes = (1 << 20) - 1;  // that an mbarrier counts, in either direction

std::uintptr_t address_of(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory); }

}  // namespace

std::string Post::open(void* mailbox) {
    if (address_of(mailbox) % mailbox_bytes != 0) return "a mailbox lies at a multiple of 8 bytes";
    if (!mailboxes_.emplace(address_of(mailbox), Mailbox{}).second) return "the mailbox is open already";
    std::memcpy(mailbox, &seal, mailbox_bytes);
    return "";
}

std::string Post::find(const void* mailbox, const Mailbox** found) const {
    const auto at = mailboxes_.find(address_of(mailbox));
    if (at == mailboxes_.end()) return "no mailbox was opened there";
    if (std::memcmp(mailbox, &seal, mailbox_bytes) != 0) return "the mailbox was overwritten";
    *found = &at->second;
    return "";
}

void Post::end_if_complete(Mailbox& mailbox) {
    if (!mailbox.told || mailbox.missing != 0) return;
    ++mailbox.phase;
    mailbox.told = false;
}

std::string Post::expect(void* mailbox, unsigned bytes) {
    const Mailbox* found = nullptr;
    if (std::string wrong = find(mailbox, &found); !wrong.empty()) return wrong;
    Mailbox& told = mailboxes_[address_of(mailbox)];
    if (told.told) return text("phase ", told.phase, " was told already how many bytes it gets");
    if (bytes > most_bytes) return text("a phase counts at most ", most_bytes, " bytes");
    told.told = true;
    told.missing += bytes;
    if (told.missing < 0)
        return text("phase ", told.phase, " gets ", bytes, " bytes, but ", bytes - told.missing,
                    " have come");
    end_if_complete(told);
    return "";
}

std::string Post::land(std::size_t number) {
    const Message message = under_way_[number];
    under_way_.erase(under_way_.begin() + std::ptrdiff_t(number));
    const Mailbox* found = nullptr;
    if (std::string wrong = find(message.mailbox, &found); !wrong.empty()) return wrong;
    Mailbox& mailbox = mailboxes_[address_of(message.mailbox)];
    std::memcpy(message.word, &message.value, sizeof message.value);
    if (order::observer != nullptr)
        order::observer->arrives(message.observed, phase_object(message.mailbox, mailbox.phase));
    mailbox.missing -= std::int64_t(sizeof message.value);
    if (mailbox.missing < (mailbox.told ? 0 : -most_bytes))
        return text("phase ", mailbox.phase, " gets more bytes than it was told");
    end_if_complete(mailbox);
    return "";
}

std::string Post::ended(void* mailbox, unsigned phase, bool* over) const {
    const Mailbox* found = nullptr;
    if (std::string wrong = find(mailbox, &found); !wrong.empty()) return wrong;
    *over = phase + 1 == found->phase;
    if (*over || phase == found->phase) return "";
    return text("waits for phase ", phase, " of a mailbox that is in phase ", found->phase,
                ": a GPU, which knows phases by their parity, takes it for another");
}

std::vector<std::size_t> Post::to(const void* mailbox) const {
    std::vector<std::size_t> numbers;
    for (std::size_t n = 0; n < under_way_.size(); ++n)
        if (under_way_[n].mailbox == mailbox) numbers.push_back(n);
    return numbers;
}

bool Post::any_within(const void* memory, std::size_t bytes) const {
    for (const Message& message : under_way_)
        if (address_of(message.word) - address_of(memory) < bytes) return true;
    return false;
}

void Post::close(const void* memory, std::size_t bytes) {
    mailboxes_.erase(mailboxes_.lower_bound(address_of(memory)),
                     mailboxes_.lower_bound(address_of(memory) + bytes));
}

}  // namespace tvmap::emulation
