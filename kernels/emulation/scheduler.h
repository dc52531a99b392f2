// How the emulation's parts meet: the runtime queues a launch, the scheduler runs its threads.
#pragma once
#include <functional>

#include "kernels/gpu.h"

namespace tvmap::emulation {

/// Throws Error where a GPU like gpu::device() would refuse the launch.
void check_launch(const gpu::Launch& how);

/// Runs all threads of the launch, which was checked.
void run(const gpu::Launch& how, const std::function<void()>& thread);

/// Tells the address sanitizer that memory may (not) be touched; nothing without it.
void allow_access(void* memory, std::size_t bytes);
void forbid_access(void* memory, std::size_t bytes);

}  // namespace tvmap::emulation
