// What tests and stand-ins for vendor libraries ask of the emulation, without the vocabulary of kernels.
#pragma once
#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "kernels/gpu/gpu_runtime.h"

namespace tvmap::emulation {

/// The order in which threads (and blocks that are resident together) run between barriers, and blocks one
/// after the other. 0: the natural one; else drawn from the seed, differently for every launch.
void set_seed(unsigned seed);

/// What gpu::device() is from now on. At first: capability 9.0, 8 multiprocessors, 227 KiB of shared memory,
/// clusters of 8.
void set_device(const gpu::Device& device);

/// How many multiprocessors lie in each group that a cluster does not reach across; empty, as at first: all in
/// one. (An H100 has groups of 16 and 18.)
void set_processor_groups(std::vector<int> sizes);

/// Work that a vendor's library would put into the stream: done at once, or recorded. It may touch device
/// memory.
void enqueue(gpu::Stream stream, std::function<void()> work);

/// Memory that kernels may touch: device memory and pinned memory.
void visit_memory(const std::function<void(void* memory, std::size_t bytes)>& visit);

/// Kernels that ran since mark_compared() last, and those that had run when it was called.
const std::set<std::string>& launched();
void mark_compared();
const std::set<std::string>& compared();

}  // namespace tvmap::emulation
