// What an instrumented kernel calls at its accesses to memory: the compiler's interface to the thread
// sanitizer, whose library is not linked. memcpy and its like, which that library would intercept, are
// wrapped by the linker.
#include <cstddef>
#include <cstring>

#include "tests/happens_before/checker.h"

using happens_before::Checker;

extern "C" {

#define TVMAP_ACCESSES(bytes)                                                                     \
    void __tsan_read##bytes(void* at) { Checker::access(at, bytes, {}); }                         \
    void __tsan_write##bytes(void* at) { Checker::access(at, bytes, {.write = true}); }           \
    void __tsan_unaligned_read##bytes(void* at) { Checker::access(at, bytes, {}); }               \
    void __tsan_unaligned_write##bytes(void* at) { Checker::access(at, bytes, {.write = true}); } \
    void __tsan_volatile_read##bytes(void* at) { Checker::access(at, bytes, {.strong = true}); }  \
    void __tsan_volatile_write##bytes(void* at) {                                                 \
        Checker::access(at, bytes, {.write = true, .strong = true});                              \
    }

TVMAP_ACCESSES(1)
TVMAP_ACCESSES(2)
TVMAP_ACCESSES(4)
TVMAP_ACCESSES(8)
TVMAP_ACCESSES(16)

void __tsan_read_range(void* at, std::size_t bytes) { Checker::access(at, bytes, {}); }
void __tsan_write_range(void* at, std::size_t bytes) { Checker::access(at, bytes, {.write = true}); }

void* __real_memcpy(void* to, const void* from, std::size_t bytes);
void* __real_memmove(void* to, const void* from, std::size_t bytes);
void* __real_memset(void* to, int value, std::size_t bytes);

void* __wrap_memcpy(void* to, const void* from, std::size_t bytes) {
    Checker::access(from, bytes, {});
    Checker::access(to, bytes, {.write = true});
    return __real_memcpy(to, from, bytes);
}
void* __wrap_memmove(void* to, const void* from, std::size_t bytes) {
    Checker::access(from, bytes, {});
    Checker::access(to, bytes, {.write = true});
    return __real_memmove(to, from, bytes);
}
void* __wrap_memset(void* to, int value, std::size_t bytes) {
    Checker::access(to, bytes, {.write = true});
    return __real_memset(to, value, bytes);
}

// Of the host's code in those files, which one thread runs.
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
unsigned char __tsan_atomic8_load(const volatile unsigned char* at, int) { return *at; }

}  // extern "C"
