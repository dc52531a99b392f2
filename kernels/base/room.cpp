#include "kernels/base/room.h"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "kernels/base/error.h"

namespace tvmap {

void require_room(std::size_t bytes, const std::string& purpose) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("not enough memory for ", purpose, ", which needs up to ", bytes >> 20,
             " MiB more: allow more (ulimit -v), or use a smaller batch, crop or image size");
    munmap(memory, bytes);
}

namespace {

constexpr std::size_t depth = 512 * 1024;

/// In a frame of its own, which is there as soon as the function is entered: what is asked before must be asked outside.
[[gnu::noinline]] void touch_stack() {
    [[maybe_unused]] volatile std::byte deep[depth];
    for (std::size_t at = depth; at > 0; at -= 4096) deep[at - 1] = std::byte{0};  // downwards, as it grows
}

}  // namespace

void reserve_stack() {
#ifdef __GLIBC__
    // Each thread's arena would reserve 64 MiB of addresses, and so take what little there is from whoever comes next.
    rlimit addresses{};
    if (getrlimit(RLIMIT_AS, &addresses) == 0 && addresses.rlim_cur != RLIM_INFINITY) mallopt(M_ARENA_MAX, 1);
#endif
    rlimit limit{};
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < 4 * depth) return;  // it may not grow so far
    require_room(2 * depth, "the program's stack");
    touch_stack();
}

}  // namespace tvmap
