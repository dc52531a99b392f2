// The mapping of least time for a problem of the solver, by timing. Between kernels/solver/pdhg.cu, which keeps
// choices, and kernels/solver/pdhg_choice.cu. Not for users.
#pragma once
#include <string>
#include <vector>

#include "kernels/solver/pdhg.h"

namespace tvmap::pdhg {

/// All mappings that fit the problem and the device, cheapest first by what they should cost.
std::vector<cuda::PdhgMapping> mappings_by_cost(const PdhgProblem& problem);

/// Of each way to lay out solves, the cheapest: clusters of each size, with and without neighbours, tiles for
/// each number of steps between exchanges, global memory.
std::vector<cuda::PdhgMapping> mappings_to_time(const PdhgProblem& problem);

/// The fastest of them by timing, forward with masks and adjoint, on made-up data in memory that is given back.
/// Waits. Throws Error where none can be timed.
cuda::PdhgMapping fastest_mapping(gpu::Stream stream, const PdhgProblem& problem);

}  // namespace tvmap::pdhg
