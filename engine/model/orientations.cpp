#include "engine/model/orientations.h"

#include <cstddef>
#include <cstdlib>
#include <utility>

#include "engine/config/solver_problem.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// Where things of an H×W image lie in the turned one.
struct Turn {
    Orientation orientation;
    int height, width;  // of the turned image

    Turn(Orientation o, int h, int w)
        : orientation(o), height(o.transposed ? w : h), width(o.transposed ? h : w) {}

    std::size_t pixel(int row, int column) const {
        if (orientation.transposed) std::swap(row, column);
        if (orientation.upside_down) row = height - 1 - row;
        if (orientation.mirrored) column = width - 1 - column;
        return std::size_t(row) * width + column;
    }

    Direction direction(Direction d) const {
        if (orientation.transposed) std::swap(d.down, d.right);
        if (orientation.upside_down) d.down = -d.down;
        if (orientation.mirrored) d.right = -d.right;
        return d;
    }
};

bool same(const Direction& a, const Direction& b) { return a.down == b.down && a.right == b.right; }

/// A plane of the turned image, and whether its values belong to the same steps taken backwards.
struct Source {
    std::size_t plane = 0;
    bool backwards = false;
};

Source source_of(std::size_t plane, const Turn& turn, const std::vector<Direction>& directions) {
    const Direction& own = directions[plane];
    if (own.down == 0 && own.right == 0) return {plane};
    const Direction forth = turn.direction(own), back{-forth.down, -forth.right};
    for (std::size_t p = 0; p < directions.size(); ++p) {
        const Direction& other = directions[p];
        if (other.centred != own.centred) continue;
        if (own.centred && std::abs(other.down) == std::abs(forth.down) &&
            std::abs(other.right) == std::abs(forth.right))
            return {p};
        if (same(other, forth)) return {p};
        if (same(other, back)) return {p, true};
    }
    fail("orientations: the maps' directions do not turn into one another");
}

}  // namespace

std::vector<Orientation> orientations(int count) {
    std::vector<Orientation> list{{}};
    if (count >= 4)
        list.insert(list.end(), {{false, false, true}, {false, true, false}, {false, true, true}});
    if (count == 8)
        list.insert(list.end(),
                    {{true, false, false}, {true, false, true}, {true, true, false}, {true, true, true}});
    return list;
}

std::vector<Direction> plane_directions(const Config& config) {
    if (config.network.predicts_image) return {{}};
    if (!config.map.separate) return std::vector<Direction>(std::size_t(map_count(config)));
    switch (config.solver.regulariser) {
        case Regulariser::tv:
            return {{1, 0}, {0, 1}};
        case Regulariser::tv8:
            return {{1, 0}, {0, 1}, {1, 1}, {1, -1}};
        case Regulariser::tgv:
            return {{1, 0}, {0, 1}, {1, 0, true}, {0, 1, true}, {1, 1, true}};
    }
    fail("orientations: an unknown regulariser");
}

void turn(Orientation orientation, const float* image, int height, int width, float* turned) {
    const Turn to(orientation, height, width);
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j) turned[to.pixel(i, j)] = image[std::size_t(i) * width + j];
}

void add_turned_back(Orientation orientation, const std::vector<Direction>& directions, const float* turned,
                     int height, int width, float* sum) {
    const Turn to(orientation, height, width);
    const std::size_t pixels = std::size_t(height) * width;
    const auto around = [](int i, int n) { return (i + n) % n; };
    for (std::size_t p = 0; p < directions.size(); ++p) {
        const Source source = source_of(p, to, directions);
        // A step that is taken backwards there begins where it ends here, beyond the last row at the first.
        const int down = source.backwards ? directions[p].down : 0;
        const int right = source.backwards ? directions[p].right : 0;
        const float* const from = turned + source.plane * pixels;
        float* const plane = sum + p * pixels;
        for (int i = 0; i < height; ++i) {
            const int row = around(i + down, height);
            for (int j = 0; j < width; ++j)
                plane[std::size_t(i) * width + j] += from[to.pixel(row, around(j + right, width))];
        }
    }
}

}  // namespace tvmap
