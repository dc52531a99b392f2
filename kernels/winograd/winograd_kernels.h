// Winograd convolution for one thread: what winograd_forward.cpp and winograd_weights.cpp compute, for
// winograd.cpp to divide among threads. Private to kernels/winograd/.
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
        : rows((f.h + tile - 1) / tile),
          columns((f.w + tile - 1) / tile),
          count(std::int64_t(f.n) * rows * columns) {}
    int rows, columns;
    std::int64_t count;
};

/// Floats of the vectors that channels in blocks of `block` are worked on in; 1: this processor has none.
int vector_lanes(int block);
/// Output channels are worked on in panels so wide, the last one maybe half of it.
int panel_width(int block);

/// Floats of the transformed weights of `inputs`×`outputs` channels.
std::int64_t transformed_weight_floats(int inputs, int outputs, int block);

/// Transforms out×in×3×3 weights for a panel of output channels and some input channels.
struct WeightTransform {
    const float* weight = nullptr;
    int inputs = 0, outputs = 0;
    /// For the gradient of x, whose inputs are the weights' outputs and the reverse, each 3×3 turned by 180°.
    bool transposed = false;
    int block = 1;
    int panel = 0;                 ///< of output channels
    int from = 0, to = 0;          ///< input channels
    int first = 0;                 ///< the output channel whose panel comes first in `transformed`
    float* transformed = nullptr;  ///< transformed_weight_floats() of the panels there
};
void transform_weights(const WeightTransform& task);

/// Transformed tiles of x: [c / L][36][tile][L] in vectors of L channels, of any strides.
struct TransformedTiles {
    float* data = nullptr;
    std::int64_t vector = 0, point = 0;  ///< floats from one to the next

    /// For a pass that adds up over channels.
    static TransformedTiles by_point(float* data, int inputs, std::int64_t capacity, int block);
    /// For one that adds up over tiles.
    static TransformedTiles by_channel(float* data, std::int64_t capacity, int block);
};
std::int64_t transformed_tiles_floats(int inputs, std::int64_t capacity);
/// The channels [from, to) of the tiles [first, first + count), which are the tiles [at, at + count) of v.
void transform_tiles(ConstView x, int block, std::int64_t first, int count, std::int64_t at, int from, int to,
                     const TransformedTiles& v);

/// y or d_x of some tiles and channels.
struct TilesTask {
    ConstView x;
    View y;
    const float* weight = nullptr;  ///< transformed; its first panel is that of channel weight_from
    int weight_from = 0;
    const float* bias = nullptr;  ///< null: none
    float slope = 1;
    bool accumulate = false;
    std::int64_t first = 0;    ///< tile
    int count = 0;             ///< tiles, at most `capacity`
    int capacity = 0;          ///< a multiple of 4
    int from = 0, to = 0;      ///< channels of y, multiples of panel_width but for the last
    int together = 0;          ///< channels of y between transforms, the same
    TransformedTiles v;        ///< x's tiles from `first` on, at v.data; null: they are made
    float* scratch = nullptr;  ///< tiles_scratch_floats()
};
std::int64_t tiles_scratch_floats(int inputs, int together, int capacity, bool makes_v);
void convolve_tiles(const TilesTask& task);

/// Sums for d_weight and d_bias over some tiles and the output channels [from, to), multiples of panel_width but for
/// the last; d_a of these on the way.
struct WeightsTask {
    ConstView x, y, d_y;
    View d_a;                           ///< as d_y, which it may be; null data: not written
    float slope = 1;                    ///< 1: y is not read
    std::int64_t first = 0, count = 0;  ///< tiles
    int capacity = 0;                   ///< tiles between transforms
    int from = 0, to = 0;
    TransformedTiles v;     ///< x's tiles from `first` on, if count is at most capacity; null: they are made
    float* sums = nullptr;  ///< [(to − from) / panel][inputs][9][panel], overwritten
    double* bias_sums = nullptr;  ///< to − from, overwritten
    float* scratch = nullptr;     ///< weights_scratch_floats()
};
std::int64_t weights_scratch_floats(int inputs, int outputs, int capacity, bool makes_v);
void gather_weight_gradients(const WeightsTask& task);

/// d_weight, out×in×3×3, of the outputs [from, from + width) of one panel, from that panel's sums in each piece of
/// the tiles; those of the next piece lie `of_piece` floats further on.
void write_weight_gradients(const float* sums, int pieces, std::int64_t of_piece, int block, int inputs,
                            int from, int width, Write write, float* d_weight);

}  // namespace tvmap::cpu::winograd
