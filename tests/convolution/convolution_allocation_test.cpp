// Running a convolution allocates nothing of ours, whatever its shape.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "kernels/base/vendor_scope.h"
#include "kernels/convolution/convolution.h"
#include "tests/convolution/convolution_case.h"

namespace {
std::atomic<long> own_allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
    if (!tvmap::in_vendor_call()) ++own_allocations;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    if (void* memory = std::aligned_alloc(alignment, rounded > 0 ? rounded : alignment)) return memory;
    throw std::bad_alloc();
}
}  // namespace

// Not inlined: the compiler would take free() for the wrong partner of operator new.
[[gnu::noinline]] void* operator new(std::size_t bytes) { return counted(bytes, 16); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return counted(bytes, std::size_t(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

using namespace convolution_case;

TEST_CASE("convolution: no heap allocation of ours") {
    const long at_first = own_allocations;
    ::operator delete(::operator new(8));
    REQUIRE(own_allocations > at_first);  // the count counts
    for (const Case& c : cases) {
        CAPTURE(describe(c));
        const auto convolution = cpu::make_convolution(problem_of(c), "");
        Buffers b(c, *convolution);
        for (const Write write : {Write::overwrite, Write::accumulate}) {
            const long before = own_allocations;
            b.forward(*convolution);
            b.backward(*convolution, write);
            CHECK(own_allocations == before);
        }
    }
}
