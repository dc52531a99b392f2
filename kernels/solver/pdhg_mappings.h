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
// where the mapping of least cost was the fastest of some two hundred for 1, 4 and 16 solves of 256×256). The
// kernel of neighbours has run on no GPU yet: until one has timed it, it counts as much as the one with cluster
// barriers, which comes first.
constexpr double block_barrier_cost = 100;                                  // 30 cycles
constexpr double cluster_barrier_cost = 700;                                // 200 cycles
constexpr double message_cost = cluster_barrier_cost - block_barrier_cost;  // a guess
constexpr double exchange_cost = 13000;  // 4000 cycles: out to the second-level cache, a flag, and back

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
