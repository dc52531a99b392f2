// Stein's unbiased estimate of the mean squared error as a loss (kernels/training/loss.h), for training without clean
// images.
#pragma once
#include "engine/graph/graph.h"

namespace tvmap {

/// The scalar that backward() differentiates: the mean of SURE_n over N pairs of images. x: f(z + ε·v), f(z − ε·v) in
/// turn, and target: z, v in turn, 2N×1×H×W each; epsilon: ε, in units of the noise. One loss per graph, recorded
/// last. Throws Error for shapes that do not go together, and for a target that wants a gradient.
Value sure(Graph& graph, Value x, Value target, double epsilon);

}  // namespace tvmap
