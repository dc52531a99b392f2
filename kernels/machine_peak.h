// What this machine can reach, measured: the yardsticks that kernels are judged by; and what it is.
#pragma once
#include <string>

namespace tvmap::cpu {

/// Bytes per second of a[i] = b[i] + s·c[i] over arrays that fit no cache, on all threads: two reads and a
/// write each, written past the caches. The best of several runs.
double peak_memory_rate();

/// Multiplications and additions per second (two per fused multiply-add) of fp32 vectors that never leave the
/// registers, on all threads. The best of several runs.
double peak_multiply_add_rate();

/// The processor's name as the system gives it.
std::string processor_name();

/// The version of the oneDNN in use, like "2.6.3".
std::string onednn_version();

}  // namespace tvmap::cpu
