// What a batch is cut from.
#pragma once
#include <cstddef>
#include <cstdint>

namespace tvmap {

/// Copies the square of `side` whose upper left corner is (top, left) from a square image of `size`, mirrored left-right
/// if asked, divided by `levels` (255 for samples of 8 bits, 1 for floats in [0, 1]). It lies inside.
template <class T>
void copy_square(const T* image, int size, int top, int left, int side, bool mirror, float levels,
                 float* out) {
    for (int i = 0; i < side; ++i) {
        const T* row = image + std::size_t(top + i) * std::size_t(size) + left;
        float* to = out + std::size_t(i) * std::size_t(side);
        if (mirror)
            for (int j = 0; j < side; ++j) to[j] = float(row[side - 1 - j]) / levels;
        else
            for (int j = 0; j < side; ++j) to[j] = float(row[j]) / levels;
    }
}

}  // namespace tvmap
