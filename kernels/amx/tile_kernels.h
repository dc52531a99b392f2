// 3×3 and 1×1 convolutions of bf16 by products of tiles (kernels/amx/tiles.h), for one thread: what
// kernels/amx/tile_packing.cpp and kernels/amx/tile_products.cpp compute, for kernels/amx/tile_convolution.cpp to
// divide among threads.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/base/features.h"

namespace tvmap::cpu::amx {

/// Channels are worked on in groups of so many: what a row of a tile holds, and two tiles of outputs. Channels that a
/// tensor lacks to whole groups are zeros.
inline constexpr int group = 32;
inline constexpr int groups_of(int channels) { return (channels + group - 1) / group; }
/// Positions that one product takes together; buffers of positions end at a multiple.
inline constexpr int together = 32;
inline constexpr std::int64_t whole(std::int64_t positions) {
    return (positions + together - 1) / together * together;
}

/// The images of a batch, one below the other, as one plane whose borders are zeros, so that a weight's neighbour is a
/// fixed number of positions away, and runs of positions need not end with the rows. Row n·(h + 1) is zeros, image n's
/// come next, one more row of zeros after the last; a row is a zero and w pixels, and so the next row's zero follows it.
struct Plane {
    Plane(const Features& f, int side) : n(f.n), h(f.h), w(f.w), kernel(side) {}
    int n, h, w;
    int kernel;  ///< of the convolution: 3 or 1

    std::int64_t width() const { return w + 1; }
    std::int64_t rows() const { return std::int64_t(n) * (h + 1) + 1; }
    bool is_zeros(std::int64_t row) const { return row < 0 || row >= rows() || row % (h + 1) == 0; }
    int image(std::int64_t row) const { return int(row / (h + 1)); }
    int line(std::int64_t row) const { return int(row % (h + 1)) - 1; }
    int taps() const { return kernel * kernel; }
    /// From a position to the neighbour that a tap weighs.
    std::int64_t shift(int tap) const {
        return (tap / kernel - kernel / 2) * width() + tap % kernel - kernel / 2;
    }
};

/// Rows [from, to) of the plane. Their results need the rows [from − 1, to + 1): a source, which starts `lead` positions
/// before the first of these and goes on for as long as products read.
struct Rows {
    std::int64_t from = 0, to = 0;

    static constexpr int lead = 32;
    std::int64_t positions(const Plane& plane) const { return (to - from) * plane.width(); }
    std::int64_t source_positions(const Plane& plane) const {
        return lead + whole(whole(positions(plane)) + 2 * plane.width() + 2);
    }
};

/// The source of these rows, channels last: [position][32] of one group of x's channels. x is of bf16.
void pack_pixels(ConstView x, const Plane& plane, Rows rows, int channel_group, Bfloat16* to);

/// Rows in pairs of positions, as the right factor of products over positions: [2][positions / 2][16][2] of one group of
/// x's channels, the 16 in an order of their own, which write_gradients() undoes. The rows begin at position `first`;
/// what is before and behind them is zeros.
void pack_pairs(ConstView x, const Plane& plane, Rows rows, int channel_group, std::int64_t first,
                std::int64_t positions, Bfloat16* to);

/// Rows with positions last, as the left factor of products over positions: [32][row_numbers] of one group of channels.
void pack_channels(ConstView d_a, const Plane& plane, Rows rows, int channel_group, std::int64_t row_numbers,
                   Bfloat16* to);

/// Weights as the right factor of products over inputs: [taps][2][16 pairs of inputs][16 outputs][2] of one group of each.
/// `weight` is out×in×k×k. transposed: for the gradient of x, whose inputs are the weights' outputs and the reverse, each
/// k×k turned by 180°.
struct WeightPacking {
    const float* weight = nullptr;
    int taps = 9;
    int inputs = 0, outputs = 0;  ///< of the convolution that is computed
    bool transposed = false;
};
inline constexpr std::int64_t packed_weight_numbers(int taps) { return taps * group * group; }
void pack_weights(const WeightPacking& packing, int input_group, int output_group, Bfloat16* to);

/// y, or d_x, of some rows and one group of its channels.
struct RowsTask {
    const Bfloat16* source = nullptr;  ///< pack_pixels() of these rows, group by group
    std::int64_t source_group = 0;     ///< numbers from one group to the next
    const Bfloat16* weight = nullptr;  ///< pack_weights(), one input group after the other
    int inputs = 0;
    View y;  ///< of bf16
    Rows rows;
    int output_group = 0;
    const float* bias = nullptr;  ///< of all outputs; null: none
    float slope = 1;
    bool accumulate = false;
};
void convolve_rows(const RowsTask& task, const Plane& plane, bool plain);

/// Σ over the positions of some rows of d_a times x's neighbour, of one group of outputs and one of inputs: [taps][32][32]
/// floats, tap by tap, outputs by inputs in the order of pack_pairs().
struct SumsTask {
    const Bfloat16* outputs = nullptr;  ///< pack_channels() of these rows of d_a
    std::int64_t row_numbers = 0;       ///< at least whole(positions)
    /// pack_pairs() of the rows [from − 1, to + 1) of x, from the positions `lead` and `lead` + 1 on: a neighbour is at the
    /// start of a pair in one of them. Where all taps have theirs in one, the other may be missing.
    const Bfloat16* inputs[2] = {};
    std::int64_t source_positions = 0;  ///< of each
    Rows rows;
};
inline constexpr std::int64_t sums_floats(int taps) { return taps * group * group; }
void sum_products(const SumsTask& task, const Plane& plane, bool plain, float* sums);

/// d_weight, out×in×k×k, of one group of inputs and one of outputs, from its sums in each piece of the rows, those of the
/// next piece `of_piece` floats further on.
void write_gradients(const float* sums, int taps, int pieces, std::int64_t of_piece, int inputs, int outputs,
                     int input_group, int output_group, Write write, float* d_weight);

}  // namespace tvmap::cpu::amx
