// kernels/gpu/gpu_mailbox.h on fibers. A message is under way until the scheduler lets it land: at a drawn moment
// and in a drawn order where there is a seed, at the latest when somebody waits for it. Mailboxes count bytes
// and phases, and say what a GPU would not forgive.
#pragma once
#include <bit>
#include <cstdint>

#include "kernels/emulation/device.h"

namespace tvmap::emulation {

void open_mailbox(void* mailbox);
void expect_bytes(void* mailbox, unsigned bytes);
void send_word(void* place, std::uint32_t word, void* mailbox);
void receive_phase(void* mailbox, unsigned phase, Where where);

}  // namespace tvmap::emulation

namespace tvmap::gpu {

struct Mailbox {
    unsigned long long state;  ///< the same as long as it is open: nobody else may write here
};
struct Destination {
    float* word;
    Mailbox* mailbox;
};

inline void open(Mailbox* mailbox) { emulation::open_mailbox(mailbox); }
inline void expect(Mailbox* mailbox, unsigned bytes) { emulation::expect_bytes(mailbox, bytes); }
inline Destination destination(float* word, Mailbox* mailbox, unsigned rank) {
    return {cluster_shared(word, rank), cluster_shared(mailbox, rank)};
}
inline void send(const Destination& to, float value) {
    emulation::send_word(to.word, std::bit_cast<std::uint32_t>(value), to.mailbox);
}
inline void receive(Mailbox* mailbox, unsigned phase, const char*,
                    emulation::Where where = emulation::Where::current()) {
    emulation::receive_phase(mailbox, phase, where);
}

}  // namespace tvmap::gpu
