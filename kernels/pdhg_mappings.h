// The three ways in which a solve is laid over a GPU, between kernels/pdhg.cu, which chooses, and the files
// of the mappings. Not for users.
#pragma once
#include <cstddef>
#include <string>

#include "kernels/pdhg_device.h"

namespace tvmap::pdhg {

/// State in global memory.
std::size_t global_workspace_bytes(const PdhgProblem& problem);
void run_global(gpu::Stream stream, const Task& task, Direction direction, void* workspace);

/// One cluster per solve.
/// Empty where the mapping fits problem and device, else why not.
std::string cluster_refusal(const PdhgProblem& problem, const cuda::PdhgMapping& mapping);
void run_cluster(gpu::Stream stream, const Task& task, Direction direction, const cuda::PdhgMapping& mapping);

/// One block per tile.
std::string tiles_refusal(const PdhgProblem& problem, const cuda::PdhgMapping& mapping);
std::size_t tiles_workspace_bytes(const PdhgProblem& problem, const cuda::PdhgMapping& mapping);
void run_tiles(gpu::Stream stream, const Task& task, Direction direction, const cuda::PdhgMapping& mapping,
               void* workspace);

}  // namespace tvmap::pdhg
