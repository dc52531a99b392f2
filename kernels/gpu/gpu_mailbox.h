// Messages between the blocks of a cluster: words that the threads of one block store in the shared memory of
// another, and a mailbox there, an mbarrier, that counts their bytes. Nobody waits but who reads, and only for
// the block that sends.
//
// A mailbox goes through phases, numbered from 0. One ends when the mailbox was told how many bytes it gets
// and has got them; then the next one begins. In this order:
//     one thread of the receiver      open(mailbox), expect(mailbox, bytes)
//     the whole cluster               gpu::cluster_barrier()
//     threads of the sender           send(destination, value), the bytes of phase 0 in all
//     the receiver's threads          receive(mailbox, 0, …), each that reads what was sent
//     one of them                     expect(mailbox, bytes) of phase 1
// and so on. Messages land in any order, in the phase that has not ended by then, so a sender must know that a
// phase has ended before it sends what belongs to the next. It must also know that the receiver still runs.
//
// The instructions are those of the PTX ISA 8.6 for compute capability 9.0: st.async stores and, once the word
// is in its place, does complete-tx on the mbarrier, a release at cluster scope; mbarrier.try_wait and a fence
// acquire. So the words are seen, those in shared memory alone: nothing is promised of what the sender wrote
// elsewhere.
#pragma once
#include "kernels/gpu/gpu.h"

#ifdef TVMAP_EMULATED
#include "kernels/emulation/mailbox.h"
#else
namespace tvmap::gpu {

/// In the shared memory of its block, at a multiple of 8 bytes. Opaque.
struct Mailbox {
    unsigned long long state;
};

/// A word in the shared memory of a block of the cluster, and the mailbox beside it that counts it.
struct Destination {
    unsigned word, mailbox;  // as st.async addresses them
};

namespace detail {
__device__ inline unsigned shared_address(const void* here) {
    return unsigned(__cvta_generic_to_shared(here));
}
__device__ inline unsigned address_in(const void* here, unsigned rank) {
    unsigned there = 0;
#if __CUDA_ARCH__ >= 900
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(here)), "r"(rank));
#endif
    return there;
}
__device__ __noinline__ inline void give_up(const char* kernel, unsigned phase) {
    printf("%s: block %u waited in vain for its neighbour's messages of phase %u\n", kernel, blockIdx.x,
           phase);
    __trap();
}
}  // namespace detail

/// By one thread of the mailbox's block. A cluster barrier comes before its use by others.
__device__ inline void open(Mailbox* mailbox) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(detail::shared_address(mailbox)) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
    __trap();
#endif
}

/// Tells an open mailbox how many bytes it gets in the phase that has not ended, below 2²⁰; once a phase, by a
/// thread that has received the phase before. They may have come already.
__device__ inline void expect(Mailbox* mailbox, unsigned bytes) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.expect_tx.relaxed.cta.shared::cta.b64 _, [%0], %1;" ::"r"(
                     detail::shared_address(mailbox)),
                 "r"(bytes)
                 : "memory");
#else
    __trap();
#endif
}

/// Where the block of that rank has what lies at `word` and `mailbox` in this block's shared memory.
__device__ inline Destination destination(float* word, Mailbox* mailbox, unsigned rank) {
    return {detail::address_in(word, rank), detail::address_in(mailbox, rank)};
}

/// Starts the store of one word. In a cluster of two blocks or more.
__device__ inline void send(const Destination& to, float value) {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to.word),
        "r"(__float_as_uint(value)), "r"(to.mailbox)
        : "memory");
#else
    __trap();
#endif
}

/// Waits until a phase of this block's mailbox has ended: the one that goes on, or the one before it. (The
/// hardware knows phases by their parity alone.) After 20 seconds of the GPU's clock the kernel gives up.
__device__ inline void receive(Mailbox* mailbox, unsigned phase, const char* kernel) {
#if __CUDA_ARCH__ >= 900
    constexpr unsigned long long patience = 20'000'000'000;
    unsigned long long start = 0, now = 0;
    for (;;) {
        unsigned ended;
        asm volatile(
            "{\n"
            ".reg .pred ended;\n"
            "mbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64 ended, [%1], %2;\n"
            "selp.u32 %0, 1, 0, ended;\n"
            "}"
            : "=r"(ended)
            : "r"(detail::shared_address(mailbox)), "r"(phase % 2)
            : "memory");
        if (ended != 0) break;
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
        if (start == 0) start = now;
        if (now - start > patience) detail::give_up(kernel, phase);
    }
    // Of shared memory alone, where the words are: try_wait.acquire would throw the first-level cache away.
    asm volatile("fence.acquire.sync_restrict::shared::cluster.cluster;" ::: "memory");
#else
    __trap();
#endif
}

}  // namespace tvmap::gpu
#endif
