// How the solver is laid over a device (kernels/solver/pdhg.h, PdhgMapping): timed once for each device and problem,
// then kept with the algorithms. Results do not depend on it, to the bit; memory and time do.
#pragma once
#include "kernels/backend.h"

namespace tvmap {

class Algorithms;

/// Settles for this process how solves of the problem's sizes are laid out: as `algorithms` have it, or by
/// timing, whose outcome they get. Nothing is timed where they plan without timing, nor for batches that borrow
/// the choices of smaller ones: there, and on a device that keeps no time, what should cost least is taken and
/// not kept. A kept choice that does not fit is not taken; `algorithms` note why. Comes before the first question
/// for a workspace, which settles it too. Nothing happens on a CPU.
/// Whether `algorithms` have got a choice that they had not.
bool settle_solver_mapping(Backend& backend, Algorithms& algorithms, const PdhgProblem& problem);

/// The same with the machine's algorithms, which keep the outcome.
void settle_solver_mapping(Backend& backend, const PdhgProblem& problem);

}  // namespace tvmap
