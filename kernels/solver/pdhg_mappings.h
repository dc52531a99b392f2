// The three ways in which a solve is laid over a GPU, between kernels/solver/pdhg.cu, which chooses, and the files
// of the mappings. Not for users.
#pragma once
#include <cstddef>
#include <string>

#include "kernels/solver/pdhg_device.h"

namespace tvmap::pdhg {

/// State in global memory.
std::size_t global_workspace_bytes(const PdhgProblem& problem);
void run_global(gpu::Stream stream, const Task& task, Direction direction, void* workspace);

// X_refusal: empty where the mapping fits problem and device, else why not. X_cost: what a step of all solves
// takes, roughly, in the time that a multiprocessor needs for the step of one pixel (0.8 cycles on an H200,
// where the mapping of least cost was the fastest of some two hundred for 1, 4 and 16 solves of 256×256, and a step
// of a cluster of 8 took 3.8 µs with cluster barriers and 3.3 µs with messages).
constexpr double block_barrier_cost = 100;
constexpr double cluster_barrier_cost = 700;
constexpr double message_cost = 50;      // to what a block's barrier costs anyway
constexpr double exchange_cost = 13000;  // out to the second-level cache, a flag, and back

/// Of any mapping.
std::string mapping_refusal(const PdhgProblem& problem, const cuda::PdhgMapping& mapping);

/// One cluster per solve.
std::string cluster_refusal(const PdhgProblem& problem, const cuda::PdhgMapping& mapping);
double cluster_cost(const PdhgProblem& problem, const cuda::PdhgMapping& mapping);
/// Solves that the device holds at once. It is asked, for a cluster lies within a group of multiprocessors,
/// and the groups' sizes are no multiples of the cluster's: of 132 multiprocessors in groups of 16 and 18, or
/// fewer where some are out of order, clusters of 8 leave some 12 over.
int cluster_solves_at_once(const PdhgProblem& problem, const cuda::PdhgMapping& mapping);
void run_cluster(gpu::Stream stream, const Task& task, Direction direction, const cuda::PdhgMapping& mapping);

/// One block per tile.
std::string tiles_refusal(const PdhgProblem& problem, const cuda::PdhgMapping& mapping);
double tiles_cost(const PdhgProblem& problem, const cuda::PdhgMapping& mapping);
std::size_t tiles_workspace_bytes(const PdhgProblem& problem, const cuda::PdhgMapping& mapping);
void run_tiles(gpu::Stream stream, const Task& task, Direction direction, const cuda::PdhgMapping& mapping,
               void* workspace);

}  // namespace tvmap::pdhg
