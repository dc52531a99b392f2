// CUDA's vocabulary on the host: what kernels/gpu/gpu.h gives kernels where TVMAP_EMULATED is defined. Each
// thread of a block is a fiber (kernels/emulation/scheduler.cpp); everything runs on the OS thread that
// launches.
//
// Left out on purpose, so that it does not compile: static __shared__ memory (shared_memory<T>() is the only
// kind), floating-point atomics (sums would depend on the order of threads).
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>
#include <version>
#ifdef __cpp_lib_source_location
#include <source_location>
#else  // clang 14
#include <experimental/source_location>
#endif

#include "kernels/emulation/arithmetic.h"
#include "kernels/emulation/control.h"
#include "kernels/emulation/order.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

// ---- the running thread, and where threads meet ----

namespace tvmap::gpu {
struct Launch;
}

namespace tvmap::emulation {

/// A place in the source: threads that meet must meet at the same one.
#ifdef __cpp_lib_source_location
using Where = std::source_location;
#else
using Where = std::experimental::source_location;
#endif

struct Thread {
    uint3 thread_index, block_index;
    dim3 block_size, grid_size;
    unsigned lane;       ///< within its warp of 32
    std::size_t number;  ///< within its launch
};
extern const Thread* running;

/// How many of the block's threads came with `predicate`, and how many came.
struct Votes {
    int yes, all;
};
Votes meet_block(const char* barrier, bool predicate, Where where);
void meet_cluster(Where where);
/// The lanes in `mask` meet, and see afterwards what each other wrote.
void meet_warp(unsigned mask, Where where);
/// Every lane in `mask` brings a value and leaves with that of its `source`; from a lane that is not in the
/// mask or has returned, with all bits set. (A shuffle or a vote orders no accesses to memory.)
std::uint64_t exchange(unsigned mask, std::uint64_t value, unsigned source, Where where);
/// The lanes in `mask` whose predicate holds.
unsigned ballot(unsigned mask, bool predicate, Where where);

void* shared_memory();
void* cluster_shared(void* here, unsigned rank);
unsigned cluster_rank();
void pause();
/// A thread reads a flag that others set.
void polled();
/// What other threads may wait for was `changed`; they may go first now.
void published(bool changed);

/// Throws Error naming the kernel.
[[noreturn]] void trap(const char* why);

void launch(gpu::Stream stream, const gpu::Launch& how, std::function<void()> thread);
int resident_blocks(const gpu::Launch& how);
/// Throws Error unless null, device or pinned memory.
void check_argument(const gpu::Launch& how, const void* pointer);

template <class T>
T shuffle(unsigned mask, T value, unsigned source, Where where) {
    static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                  "CUDA shuffles no such type");
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    return std::bit_cast<T>(Bits(exchange(mask, std::bit_cast<Bits>(value), source, where)));
}
/// First lane of the segment of `width` lanes that the running one belongs to.
inline unsigned segment(int width) { return running->lane / unsigned(width) * unsigned(width); }

/// A flag, or what atomics are for. Volatile accesses are CUDA's strong ones: each is done, and none races with
/// another.
template <class T>
volatile T& strong(T& object) {
    return object;
}

template <class T, class Change>
T atomically(T* target, const Change& change) {
    static_assert(
        std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>,
        "atomics are for int, unsigned and unsigned long long");
    order::update(target);
    const T old = strong(*target), value = change(old);
    strong(*target) = value;
    published(value != old);
    return old;
}

}  // namespace tvmap::emulation

#define threadIdx (::tvmap::emulation::running->thread_index)
#define blockIdx (::tvmap::emulation::running->block_index)
#define blockDim (::tvmap::emulation::running->block_size)
#define gridDim (::tvmap::emulation::running->grid_size)
constexpr int warpSize = 32;

inline void __syncthreads(tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    tvmap::emulation::meet_block("__syncthreads", false, where);
}
inline int __syncthreads_count(int predicate,
                               tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    return tvmap::emulation::meet_block("__syncthreads_count", predicate != 0, where).yes;
}
inline int __syncthreads_or(int predicate,
                            tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    return tvmap::emulation::meet_block("__syncthreads_or", predicate != 0, where).yes > 0;
}
inline int __syncthreads_and(int predicate,
                             tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    const tvmap::emulation::Votes votes =
        tvmap::emulation::meet_block("__syncthreads_and", predicate != 0, where);
    return votes.yes == votes.all;
}
inline void __syncwarp(unsigned mask = ~0u,
                       tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    tvmap::emulation::meet_warp(mask, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    return tvmap::emulation::ballot(mask, predicate != 0, where);
}
inline int __any_sync(unsigned mask, int predicate,
                      tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    return tvmap::emulation::ballot(mask, predicate != 0, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    return tvmap::emulation::ballot(mask, predicate == 0, where) == 0;
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    const unsigned from = tvmap::emulation::segment(width) + unsigned(source) % unsigned(width);
    return tvmap::emulation::shuffle(mask, value, from, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32,
                 tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    const unsigned lane = tvmap::emulation::running->lane;
    const bool inside = lane - tvmap::emulation::segment(width) >= distance;
    return tvmap::emulation::shuffle(mask, value, inside ? lane - distance : lane, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32,
                   tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    const unsigned lane = tvmap::emulation::running->lane;
    const bool inside = lane - tvmap::emulation::segment(width) + distance < unsigned(width);
    return tvmap::emulation::shuffle(mask, value, inside ? lane + distance : lane, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  tvmap::emulation::Where where = tvmap::emulation::Where::current()) {
    const unsigned lane = tvmap::emulation::running->lane, from = lane ^ unsigned(bits);
    const bool inside = from < tvmap::emulation::segment(width) + unsigned(width);
    return tvmap::emulation::shuffle(mask, value, inside ? from : lane, where);
}

// ---- memory ----

inline void __threadfence() { tvmap::emulation::order::fence(); }
inline void __threadfence_block() {}  // what it orders within a block is not observed
inline void __threadfence_system() { tvmap::emulation::order::fence(); }
inline void __nanosleep(unsigned) { tvmap::emulation::pause(); }
[[noreturn]] inline void __trap() { tvmap::emulation::trap("__trap()"); }

// Loads and stores with a caching hint.
template <class T>
T __ldg(const T* from) {
    return *from;
}
template <class T>
T __ldcs(const T* from) {
    return *from;
}
template <class T>
T __ldcg(const T* from) {
    return *from;
}
template <class T>
T __ldca(const T* from) {
    return *from;
}
template <class T>
void __stcs(T* to, std::type_identity_t<T> value) {
    *to = value;
}
template <class T>
void __stcg(T* to, std::type_identity_t<T> value) {
    *to = value;
}

template <class T>
T atomicAdd(T* target, std::type_identity_t<T> value) {
    using Wide = std::make_unsigned_t<T>;  // wraps round without overflow
    return tvmap::emulation::atomically(target, [&](T old) { return T(Wide(old) + Wide(value)); });
}
template <class T>
T atomicSub(T* target, std::type_identity_t<T> value) {
    using Wide = std::make_unsigned_t<T>;
    return tvmap::emulation::atomically(target, [&](T old) { return T(Wide(old) - Wide(value)); });
}
template <class T>
T atomicMax(T* target, std::type_identity_t<T> value) {
    return tvmap::emulation::atomically(target, [&](T old) { return std::max(old, value); });
}
template <class T>
T atomicMin(T* target, std::type_identity_t<T> value) {
    return tvmap::emulation::atomically(target, [&](T old) { return std::min(old, value); });
}
template <class T>
T atomicOr(T* target, std::type_identity_t<T> value) {
    return tvmap::emulation::atomically(target, [&](T old) { return old | value; });
}
template <class T>
T atomicAnd(T* target, std::type_identity_t<T> value) {
    return tvmap::emulation::atomically(target, [&](T old) { return old & value; });
}
template <class T>
T atomicExch(T* target, std::type_identity_t<T> value) {
    return tvmap::emulation::atomically(target, [&](T) { return value; });
}
template <class T>
T atomicCAS(T* target, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    return tvmap::emulation::atomically(target, [&](T old) { return old == expected ? value : old; });
}

// ---- kernels/gpu/gpu.h ----

namespace tvmap::gpu {

template <class T>
T* shared_memory() {
    return static_cast<T*>(emulation::shared_memory());
}
inline unsigned cluster_rank() { return emulation::cluster_rank(); }
inline void cluster_barrier(emulation::Where where = emulation::Where::current()) {
    emulation::meet_cluster(where);
}
template <class T>
T* cluster_shared(T* here, unsigned rank) {
    return static_cast<T*>(emulation::cluster_shared(here, rank));
}

inline unsigned load_acquire(const unsigned* flag) {
    emulation::polled();
    const unsigned value = emulation::strong(*flag);
    emulation::order::acquire(flag);
    return value;
}
inline void store_release(unsigned* flag, unsigned value) {
    emulation::strong(*flag) = value;
    emulation::order::release(flag);
    emulation::published(true);
}
inline void pause() { emulation::pause(); }
/// (Threads that all wait in vain are found out by the scheduler.)
inline void wait_until(const unsigned* flag, unsigned value, const char*) {
    while (load_acquire(flag) < value) pause();
}

struct Launch {
    const char* name;
    dim3 grid = dim3(1);
    dim3 block = dim3(256);
    unsigned cluster = 1;
    std::size_t shared_bytes = 0;
    bool cooperative = false;
};

template <class... Parameters, class... Arguments>
void launch(Stream stream, const Launch& how, void (*kernel)(Parameters...), Arguments&&... arguments) {
    static_assert(sizeof...(Parameters) == sizeof...(Arguments));
    [&](Parameters... converted) {
        [[maybe_unused]] const auto check = [&](const auto& argument) {
            if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(argument)>>)
                emulation::check_argument(how, argument);
        };
        (check(converted), ...);
        emulation::launch(stream, how, [kernel, converted...] { kernel(converted...); });
    }(std::forward<Arguments>(arguments)...);
}

template <class... Parameters>
int resident_blocks(const Launch& how, void (*)(Parameters...)) {
    return emulation::resident_blocks(how);
}

}  // namespace tvmap::gpu
