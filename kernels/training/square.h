// What a batch is cut from.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace tvmap {

/// Copies `count` values of a row, mirrored if asked.
inline void copy_row(const float* row, int count, bool mirror, float* to) {
    if (mirror)
        std::reverse_copy(row, row + count, to);
    else
        std::copy(row, row + count, to);
}

/// Copies the square of `side` whose upper left corner is (top, left) from an image of `width` columns, mirrored left-right
/// if asked, its samples divided by `levels` (255 where they have 8 bits). It lies inside.
template <class Sample>
void copy_square(const Sample* image, int width, int top, int left, int side, bool mirror, float levels,
                 float* out) {
    for (int i = 0; i < side; ++i) {
        const Sample* row = image + std::size_t(top + i) * std::size_t(width) + left;
        float* to = out + std::size_t(i) * std::size_t(side);
        if (mirror)
            for (int j = 0; j < side; ++j) to[j] = float(row[side - 1 - j]) / levels;
        else
            for (int j = 0; j < side; ++j) to[j] = float(row[j]) / levels;
    }
}

}  // namespace tvmap
