// The vocabulary of a .cu file. A kernel is written in CUDA C++ (__global__, threadIdx, __syncthreads,
// shuffles, ballots, atomics, __fmaf_rn, …) and compiled twice: by nvcc for the GPU, and as host C++ against
// kernels/emulation/device.h, which gives the same words their meaning on fibers. What CUDA spells in a way
// that only nvcc understands goes through the functions here instead:
//     <<<…>>>                     launch(stream, {.name = "…", .grid = …, .block = …}, kernel, arguments…)
//     extern __shared__ T s[]     T* s = shared_memory<T>() (the only shared memory: no static __shared__)
//     clusters, acquire and release, spin-waits, messages         the functions below, kernels/gpu/gpu_mailbox.h
// Kernels are compiled with -fmad=false: a product and a sum round apart unless fused by __fmaf_rn.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/base/error.h"
#include "kernels/gpu/gpu_runtime.h"

#ifdef TVMAP_EMULATED
#include "kernels/emulation/device.h"
#else
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <utility>

namespace tvmap::gpu {

/// The block's dynamic shared memory, aligned to 128 bytes.
template <class T>
__device__ inline T* shared_memory() {
    extern __shared__ __align__(128) unsigned char tvmap_shared_memory[];
    return reinterpret_cast<T*>(tvmap_shared_memory);
}

// Thread-block clusters: compute capability 9.0 and later. launch() refuses clusters on anything older, where
// the functions below are never reached.

/// This block's number within its cluster.
__device__ inline unsigned cluster_rank() {
#if __CUDA_ARCH__ >= 900
    return cooperative_groups::this_cluster().block_rank();
#else
    return 0;
#endif
}
/// All threads of the cluster meet; what they wrote to shared memory, also each other's, is visible
/// afterwards.
__device__ inline void cluster_barrier() {
#if __CUDA_ARCH__ >= 900
    cooperative_groups::this_cluster().sync();
#else
    __trap();
#endif
}
/// Where the block of this rank has what lies at `here` in this block's shared memory.
template <class T>
__device__ inline T* cluster_shared(T* here, unsigned rank) {
#if __CUDA_ARCH__ >= 900
    return cooperative_groups::this_cluster().map_shared_rank(here, rank);
#else
    __trap();
    return here;
#endif
}

/// Flags between blocks. What a block wrote before a barrier and one thread's store_release is seen by those
/// that meet in a barrier after one thread's load_acquire read it.
__device__ inline unsigned load_acquire(const unsigned* flag) {
    unsigned value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
    return value;
}
__device__ inline void store_release(unsigned* flag, unsigned value) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(value) : "memory");
}
/// Inside a spin-wait.
__device__ inline void pause() { __nanosleep(20); }

/// Says what did not come and ends the kernel, and with it the program's use of the GPU.
__device__ __noinline__ inline void give_up(const char* kernel, unsigned expected, unsigned found) {
    printf("%s: block %u waited in vain for a flag: %u is expected, it is %u\n", kernel, blockIdx.x, expected,
           found);
    __trap();
}
/// Waits until the flag has got to `value`; for ever only on paper: after 20 seconds of the GPU's clock the
/// kernel gives up, since one that hangs takes the machine with it.
__device__ inline void wait_until(const unsigned* flag, unsigned value, const char* kernel) {
    constexpr unsigned long long patience = 20'000'000'000;
    unsigned long long start = 0, now = 0;
    for (unsigned found; (found = load_acquire(flag)) < value;) {
        pause();
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
        if (start == 0) start = now;
        if (now - start > patience) give_up(kernel, value, found);
    }
}

/// How to launch a kernel.
struct Launch {
    const char* name;  ///< the kernel's, for messages and for the record of what was tested
    dim3 grid = dim3(1);
    dim3 block = dim3(256);
    unsigned cluster = 1;          ///< blocks (along x) of a cluster; grid.x is a multiple of it
    std::size_t shared_bytes = 0;  ///< dynamic shared memory of a block
    bool cooperative = false;      ///< blocks wait for each other, so that all must be resident at once
};

namespace detail {
void launch(Stream stream, const Launch& how, const void* kernel, void** arguments);
int resident_blocks(const Launch& how, const void* kernel);
}  // namespace detail

/// Queues a kernel. Throws Error naming kernel, sizes and device where it cannot be launched.
template <class... Parameters, class... Arguments>
void launch(Stream stream, const Launch& how, void (*kernel)(Parameters...), Arguments&&... arguments) {
    static_assert(sizeof...(Parameters) == sizeof...(Arguments));
    [&](Parameters... converted) {
        void* pointers[] = {const_cast<void*>(static_cast<const void*>(&converted))..., nullptr};
        detail::launch(stream, how, reinterpret_cast<const void*>(kernel), pointers);
    }(std::forward<Arguments>(arguments)...);
}

/// Blocks of such a launch that the device can hold at once (whole clusters where it has clusters); 0 where
/// none fits.
template <class... Parameters>
int resident_blocks(const Launch& how, void (*kernel)(Parameters...)) {
    return detail::resident_blocks(how, reinterpret_cast<const void*>(kernel));
}

}  // namespace tvmap::gpu
#endif

namespace tvmap::gpu {

/// Blocks of `block` threads for `work` threads. Throws Error where a grid does not hold them.
inline unsigned blocks_for(std::int64_t work, unsigned block) {
    const std::int64_t blocks = (work + block - 1) / block;
    if (blocks > INT32_MAX)
        fail("CUDA: ", work, " threads are more than one launch can take; give less at a time");
    return unsigned(blocks);
}

}  // namespace tvmap::gpu
