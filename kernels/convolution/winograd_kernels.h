// Winograd convolution for one thread: what winograd_forward.cpp and winograd_weights.cpp compute, for
// winograd.cpp to divide among threads. Private to kernels/convolution/winograd*.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/base/features.h"

namespace tvmap::cpu::winograd {

inline constexpr int tile = 4;     ///< pixels of a side that one tile makes
inline constexpr int points = 36;  ///< 6×6 numbers of a transformed tile
/// Floats between matrices of consecutive points, so that the 36 do not share sets of the first cache.
inline constexpr std::int64_t apart = 16;

/// The tiles that cover a batch: row by row, image by image.
struct Tiling {
    explicit Tiling(const Features& f)
        : rows((f.h + tile - 1) / tile), columns((f.w + tile - 1) / tile), count(std::int64_t(f.n) * rows * columns) {}
    int rows, columns;
    std::int64_t count;
};

/// Output channels are worked on in panels of `width`, the last one maybe narrower.
int panel_width(int block);

/// Floats of the transformed weights of `inputs`×`outputs` channels.
std::int64_t transformed_weight_floats(int inputs, int outputs, int block);

/// Transforms out×in×3×3 weights for a panel of output channels and the input channels [from, to). `transposed`:
/// for the gradient of x, whose inputs are the weights' outputs and the reverse, each 3×3 turned by 180°.
void transform_weights(const float* weight, int inputs, int outputs, bool transposed, int block, int panel,
                       int from, int to, float* transformed);

/// y or d_x of some tiles and channels.
struct TilesTask {
    ConstView x;
    View y;
    const float* weight = nullptr;  ///< transformed
    const float* bias = nullptr;    ///< null: none
    float slope = 1;
    bool accumulate = false;
    std::int64_t first = 0;    ///< tile
    int count = 0;             ///< tiles, at most `capacity`
    int capacity = 0;          ///< a multiple of 4
    int from = 0, to = 0;      ///< channels of y, multiples of panel_width but for the last
    int together = 0;          ///< channels of y between transforms, the same
    float* scratch = nullptr;  ///< tiles_scratch_floats()
};
std::int64_t tiles_scratch_floats(int inputs, int together, int capacity);
void convolve_tiles(const TilesTask& task);

}  // namespace tvmap::cpu::winograd
