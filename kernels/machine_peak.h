// What this machine can reach, measured: the yardsticks that kernels are judged by; and what it is.
#pragma once
#include <cstdint>
#include <string>

#include "kernels/base/stream.h"

namespace tvmap {

/// What a machine was measured to reach.
struct MachinePeak {
    double bytes_per_second = 0;       ///< of memory, reads and writes together
    double operations_per_second = 0;  ///< fp32 multiplications and additions
    double tile_operations_per_second =
        0;  ///< those of bf16 in tile registers (kernels/amx/tiles.h); 0: there are none
};

namespace cpu {

/// Bytes per second of a[i] = b[i] + s·c[i] over arrays that fit no cache, on all threads: two reads and a
/// write each, written past the caches. The best of several runs.
double peak_memory_rate();

/// Multiplications and additions per second (two per fused multiply-add) of fp32 vectors that never leave the
/// registers, on all threads. The best of several runs.
double peak_multiply_add_rate();

/// Multiplications and additions per second of bf16 in tile registers, on all threads; 0 where there are none. The best of
/// several runs.
double peak_tile_rate();

/// The processor's name as the system gives it.
std::string processor_name();

/// The version of the oneDNN in use, like "2.6.3".
std::string onednn_version();

}  // namespace cpu

namespace cuda {

/// a[i] = b[i] + ½·c[i], `count` floats in device memory aligned to 16 bytes.
void triad(gpu::Stream stream, std::int64_t count, const float* b, const float* c, float* a);

/// sinks[t] = what `rounds` rounds of eight independent chains v ← ½v + ½ add up to in thread t, all from
/// different starts; 8 as soon as they have converged. 16·rounds operations for each of `threads`, a multiple
/// of 256.
void multiply_add_chains(gpu::Stream stream, int rounds, std::int64_t threads, float* sinks);

/// The rates of both, by the device's clock, on all multiprocessors: triad over arrays that fit no cache.
MachinePeak measure_peak(gpu::Stream stream);

}  // namespace cuda
}  // namespace tvmap
