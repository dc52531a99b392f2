// How an image is divided into overlapping tiles along an axis, so that each place of the result is right in one of them.
#pragma once
#include <vector>

#include "engine/graph/graph.h"

namespace tvmap {

/// The places at the ends of a tile whose result depends on what lies beyond them. At an end of the image there are none.
struct Rim {
    int head = 0, tail = 0;
};

/// That of `value` of a graph for tiles of `input`, which begin and end where every level of the network does.
Rim rim_of(const Graph& graph, Value value, Value input);

/// One tile along an axis: it begins at place `start`, and its result is taken from place `from` to before `to`.
struct TileSpan {
    int start, from, to;
};

/// The shortest side, a multiple of `multiple`, with which at most `count` tiles cover `size` places, itself a multiple.
int tile_side(int size, int count, const Rim& rim, int multiple);

/// The tiles of this side, in order: they begin at multiples, and take the whole axis among them. The side is `size`, or
/// longer than both rims and `multiple`.
std::vector<TileSpan> tile_spans(int size, int side, const Rim& rim, int multiple);

}  // namespace tvmap
