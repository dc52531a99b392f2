// What every implementation of the solver shares: the check of its arguments and the layout of its masks. Not
// for users.
#pragma once
#include <cstddef>

#include "kernels/solver/pdhg.h"

namespace tvmap {

/// Pixels per group of the masks. Every vector length and a warp's half divide it.
constexpr int pdhg_group = 16;
/// A group's decisions of one step: 16 bits each for vertical v > Λ, vertical v < −Λ, and both horizontal.
constexpr std::size_t pdhg_group_mask_bytes = 8;

/// Bytes of the masks of one row and one step.
inline std::size_t pdhg_mask_row_bytes(int width) {
    return std::size_t((std::int64_t(width) + pdhg_group - 1) / pdhg_group) * pdhg_group_mask_bytes;
}

/// Throws Error where the memory is smaller than `bytes`, or not aligned.
void check_pdhg_workspace(const char* where, const PdhgWorkspace& workspace, std::size_t bytes);

/// Throws Error for sizes that are none, and for steps that do not converge.
void check_pdhg(const char* where, const PdhgProblem& problem, int iterations);

}  // namespace tvmap
