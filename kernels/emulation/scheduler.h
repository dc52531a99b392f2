// How the emulation's parts meet: the runtime queues a launch, the scheduler runs its threads.
#pragma once
#include <functional>

#include "kernels/gpu/gpu.h"

namespace tvmap::emulation {

/// Throws Error where a GPU like gpu::device() would refuse the launch.
void check_launch(const gpu::Launch& how);

/// Runs all threads of the launch, which was checked.
void run(const gpu::Launch& how, const std::function<void()>& thread);

}  // namespace tvmap::emulation
