// Operations of networks that work at the scale of the noise, and of those that give an image instead of a map.
#pragma once
#include "engine/graph/graph.h"
#include "kernels/layers/noise_level.h"

namespace tvmap {

/// N×1×1×1: the standard deviation of the noise in each image of an N×1×H×W input, as estimated from it
/// (kernels/layers/noise_level.h). A constant of the images: it has no gradient.
Value noise_level(Graph& graph, Value z);

/// x times or over one factor an image, N×1×1×1, which gets no gradient.
Value scaled(Graph& graph, Scaling scaling, Value x, Value factor);

/// z − the first channel of x. The further channels of x get a zero gradient, z none.
Value residual(Graph& graph, Value z, Value x);

}  // namespace tvmap
