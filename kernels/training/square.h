// What a batch is cut from.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/base/host_device.h"

namespace tvmap {

/// Row and column.
struct Place {
    int row, column;
};

/// Where what stands at (i, j) of a square of `side` was before the square was mirrored left-right, if asked, and then
/// turned counterclockwise by so many quarters of a turn, 0 to 3.
TVMAP_HOST_DEVICE inline Place place_before(int i, int j, int side, bool mirror, int quarters) {
    const int last = side - 1;
    const int row = quarters == 0 ? i : quarters == 1 ? j : quarters == 2 ? last - i : last - j;
    const int column = quarters == 0 ? j : quarters == 1 ? last - i : quarters == 2 ? last - j : i;
    return {row, mirror ? last - column : column};
}

/// Row i of the square whose upper left corner is `corner`, in an image of `width` columns, mirrored and turned as
/// place_before has it: value(sample) of each sample.
template <class Sample, class Value>
void copy_row(const Sample* corner, int width, int side, int i, bool mirror, int quarters, const Value& value,
              float* to) {
    const auto offset = [&](int j) {
        const Place place = place_before(i, j, side, mirror, quarters);
        return std::ptrdiff_t(place.row) * width + place.column;
    };
    const std::ptrdiff_t stride = side > 1 ? offset(1) - offset(0) : 1;
    const Sample* from = corner + offset(0);
    if (stride == 1)
        for (int j = 0; j < side; ++j) to[j] = value(from[j]);
    else
        for (int j = 0; j < side; ++j) to[j] = value(from[j * stride]);
}

/// Copies the square of `side` whose upper left corner is (top, left) from an image of `width` columns, mirrored and turned
/// as place_before has it, its samples divided by `levels` (255 where they have 8 bits). It lies inside.
template <class Sample>
void copy_square(const Sample* image, int width, int top, int left, int side, bool mirror, int quarters,
                 float levels, float* out) {
    const Sample* corner = image + std::size_t(top) * std::size_t(width) + left;
    for (int i = 0; i < side; ++i)
        copy_row(
            corner, width, side, i, mirror, quarters, [=](Sample s) { return float(s) / levels; },
            out + std::size_t(i) * std::size_t(side));
}

}  // namespace tvmap
