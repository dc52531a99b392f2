// A row of the family's steps on the CPU, in the instruction set in use (kernels/base/simd.h). All of them round alike.
// Rows of a pass write nothing that another row of it reads. For any number of threads; not for users.
#pragma once
#include "kernels/family/family_step.h"

namespace tvmap::cpu {

/// Which of the family's steps a pass is.
struct FamilyKind {
    Regulariser regulariser;
    MapKind map;
    bool masks;  ///< forward: whether decisions are recorded
};

/// r and q of one row, and what the decisions of `step` are recorded in.
void family_dual_row(const family::Task& t, FamilyKind kind, int solve, int row, int step);
/// R̃, Q̃ and d_Λ of one row, by the decisions of `step`.
void family_adjoint_dual_row(const family::Task& t, FamilyKind kind, int solve, int row, int step);
/// u and ū of one row, in both directions.
void family_primal_row(const family::Task& t, FamilyKind kind, int solve, int row);
/// N x of one row, where N is a blur's: the sums of circular_sum(), in its order. x: H×W, out: W.
void family_blur_row(const family::DataOperator& n, const float* x, int row, float* out);

}  // namespace tvmap::cpu
