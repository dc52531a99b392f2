// Which part of an image a network's result at a place depends on, from the operations of its graph.
#pragma once
#include "engine/graph/graph.h"

namespace tvmap {

/// The places of `input`, along an axis without ends, that `places` of `value` depend on, and those over which all
/// lies that is computed on the way: a window of the input that holds them gives, there, what the whole input does.
/// Throws Error where an operation does not say what it reads, and where `value` does not depend on `input`.
Places receptive_field(const Graph& graph, Value value, Value input, Places places);

}  // namespace tvmap
