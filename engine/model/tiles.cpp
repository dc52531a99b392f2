#include "engine/model/tiles.h"

#include <algorithm>

#include "engine/graph/receptive_field.h"

namespace tvmap {
namespace {

/// How far the next tile begins behind one of this side.
int step_of(int side, const Rim& rim, int multiple) {
    return (side - rim.head - rim.tail) / multiple * multiple;
}

int tile_count(int size, int side, const Rim& rim, int multiple) {
    if (side >= size) return 1;
    const int step = step_of(side, rim, multiple);
    return 1 + (size - side + step - 1) / step;
}

}  // namespace

// A tile that begins at 0 and one that ends before it stand for all: with a tile the field of each of its places moves.
Rim rim_of(const Graph& graph, Value value, Value input) {
    const auto field = [&](int place) { return receptive_field(graph, value, input, {place, place}); };
    Rim rim;
    // From one place to the next the field's ends never go back.
    while (field(rim.head).first < 0) ++rim.head;
    while (field(-1 - rim.tail).last > -1) ++rim.tail;
    return rim;
}

int tile_side(int size, int count, const Rim& rim, int multiple) {
    int side = std::min(size, (rim.head + rim.tail) / multiple * multiple + 2 * multiple);
    while (tile_count(size, side, rim, multiple) > count) side += multiple;
    return side;
}

std::vector<TileSpan> tile_spans(int size, int side, const Rim& rim, int multiple) {
    std::vector<TileSpan> spans;
    const int count = tile_count(size, side, rim, multiple);
    for (int k = 0; k < count; ++k) {
        const int start = std::min(k * step_of(side, rim, multiple), size - side);
        spans.push_back({start, k == 0 ? 0 : start + rim.head, size});
        if (k > 0) spans[std::size_t(k) - 1].to = spans.back().from;
    }
    return spans;
}

}  // namespace tvmap
