// CUDA's vocabulary on the host: what kernels/base/gpu.h gives kernels where TVMAP_EMULATED is defined. Each
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

#include "kernels/emulation/control.h"
#include "kernels/emulation/order.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

// ---- vector types ----

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct float3 {
    float x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(4) ushort2 {
    unsigned short x, y;
};
struct alignas(8) ushort4 {
    unsigned short x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline ushort2 make_ushort2(unsigned short x, unsigned short y) { return {x, y}; }
inline ushort4 make_ushort4(unsigned short x, unsigned short y, unsigned short z, unsigned short w) {
    return {x, y, z, w};
}
inline double2 make_double2(double x, double y) { return {x, y}; }

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

// ---- arithmetic ----

using std::max;
using std::min;

inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }

inline float __double2float_rn(double a) { return float(a); }
inline float __int2float_rn(int a) { return float(a); }
inline float __uint2float_rn(unsigned a) { return float(a); }
inline int __float2int_rz(float a) { return int(a); }
inline int __float2int_rn(float a) { return int(std::nearbyint(a)); }
inline int __float_as_int(float a) { return std::bit_cast<int>(a); }
inline unsigned __float_as_uint(float a) { return std::bit_cast<unsigned>(a); }
inline float __int_as_float(int a) { return std::bit_cast<float>(a); }
inline float __uint_as_float(unsigned a) { return std::bit_cast<float>(a); }
inline long long __double_as_longlong(double a) { return std::bit_cast<long long>(a); }
inline double __longlong_as_double(long long a) { return std::bit_cast<double>(a); }

inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(std::uint64_t(a) * b >> 32); }
inline int __popc(unsigned a) { return std::popcount(a); }
inline int __popcll(unsigned long long a) { return std::popcount(a); }
inline int __ffs(int a) { return a == 0 ? 0 : std::countr_zero(unsigned(a)) + 1; }
inline int __clz(int a) { return std::countl_zero(unsigned(a)); }
/// Byte i of the result is byte `digit i of the selector` of the eight that b (high) and a (low) have.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    const std::uint64_t bytes = std::uint64_t(b) << 32 | a;
    unsigned result = 0;
    for (unsigned i = 0; i < 4; ++i) result |= unsigned(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return result;
}

// ---- kernels/base/gpu.h ----

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
