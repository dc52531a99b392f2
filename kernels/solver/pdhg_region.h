// A block's part of one image, held on chip for as many steps as its surroundings allow: what the tile and
// the cluster mapping have in common.
//
// A region is a rectangle of rows × columns pixels. A thread has a strip of strip_rows pixels of one column,
// lanes are columns, and a warp's 32 columns are a panel. In registers: x, p, q. In shared memory, row by row
// of a panel and 32 floats each so that every access is a base and a constant: x̄, the new q_horizontal, z
// (adjoint: ΣP̃) and Λ (adjoint: d_Λ); then for every strip the q_vertical of the row above it.
//
// A step is dual(), a barrier, primal(), a barrier. What lies across the region's edge is the mapping's
// affair: it provides the row of x̄ below the region and the q_vertical above it, or lets a rim go stale.
//
// Masks: a warp's strips have strip_rows ≤ 8 rows of 4 octets, each within one group of 16 pixels, so lane
// 8·o + r holds the word of row r for the pixels of octet o, to be read a step ahead and passed on by
// shuffles, or to be filled and stored.
#pragma once
#include <algorithm>

#include "kernels/solver/pdhg_device.h"

namespace tvmap::pdhg {

/// The rectangle of a block, in the image of a solve.
struct Region {
    int solve;
    int top, left;      ///< the first pixel's row and column; beyond the image it repeats periodically
    int rows, columns;  ///< columns beyond the last (to a multiple of 32) are idle
    int first_row, first_column, own_rows, own_columns;  ///< the rectangle of results, within the region
    bool closed;  ///< the columns are a ring; else the outermost go stale
    int rim;      ///< of pixels round the rectangle of results that these depend on, where it is not closed

    __device__ bool owns(int row, int column) const {
        return row >= first_row && row < first_row + own_rows && column >= first_column &&
               column < first_column + own_columns;
    }
    /// Whether results depend on the column. (Those further out may be another block's to write.)
    __device__ bool needs(int column) const {
        return closed || (column >= first_column - rim && column < first_column + own_columns + rim);
    }
};

/// The shared memory of a block, with room for so many rows.
template <class Step>
struct SharedLayout {
    static constexpr int planes = 3 + Step::maps;
    static constexpr int row_floats = 32 * planes;
    int rows, panels, strips;

    /// Threads: columns along x, strips along y.
    dim3 block() const { return dim3(unsigned(32 * panels), unsigned(strips)); }
    /// One row more than the region has: of x̄, below it.
    __host__ __device__ int panel_floats() const { return (rows + 1) * row_floats; }
    __host__ __device__ int edges() const { return panels * panel_floats(); }
    __host__ __device__ int floats() const { return edges() + (strips + 1) * panels * 32; }
    __device__ int x_bar(int row, int column) const {
        return column / 32 * panel_floats() + row * row_floats + column % 32;
    }
    /// q_vertical of the row above a strip.
    __device__ int edge(int strip, int column) const { return edges() + strip * panels * 32 + column; }
};

__device__ inline int wrap(int i, int n) { return i < 0 ? (i % n + n) % n : i % n; }

/// A thread's pixels.
template <class Step, int strip_rows>
struct Strip {
    static_assert(strip_rows <= 8, "a warp's lanes hold the words of 8 rows");
    static constexpr int row_floats = SharedLayout<Step>::row_floats;
    // From x̄ of a pixel to what else it has in shared memory. Adjoint: ΣP̃ and d_Λ in the places of z and Λ.
    static constexpr int q_plane = 32, z_plane = 64, map_plane = 96;
    static constexpr int other_map_plane = Step::maps == 2 ? 128 : map_plane;

    float x[strip_rows], p[strip_rows], q_vertical[strip_rows];
    int column, first, count;  // the column and the rows, within the region; no rows: an idle thread
    int image_row;             // of the first row
    int image_column;          // its width or more: an idle lane
    int border;                // the row of the strip that is Neumann's last
    float* here;               // x̄ of the first row, in shared memory
    float* right;              // of the column to the right
    float* left;               // and to the left
    float* edge;               // q_vertical of the row above the strip
    float lambda;              // a scalar map's
    Word word;                 // that this lane holds
    int word_at;               // its number within the solve's step; −1: there is none
    int solve;
    unsigned octet;      // this lane's, within the warp
    unsigned pixel_bit;  // this lane's, in its group's words

    __device__ Strip(const Task& t, const Region& region, const SharedLayout<Step>& layout, float* shared) {
        const int pitch = 32 * layout.panels, number = int(threadIdx.y);
        column = int(threadIdx.x);
        first = number * strip_rows;
        count = min(max(region.rows - first, 0), strip_rows);
        image_column = region.closed ? column : wrap(region.left + column, t.width);
        image_row = wrap(region.top + first, t.height);
        border = t.neumann ? t.height - 1 - image_row : strip_rows;

        const bool idle = image_column >= t.width;
        int right_column = column + 1, left_column = column - 1;
        if (region.closed && right_column == t.width) right_column = 0;
        if (region.closed && left_column < 0) left_column = t.width - 1;
        if (right_column == pitch || idle || (t.neumann && image_column + 1 == t.width))
            right_column = column;
        if (left_column < 0 || idle) left_column = column;
        here = shared + layout.x_bar(first, column);
        right = shared + layout.x_bar(first, right_column);
        left = shared + layout.x_bar(first, left_column);
        edge = shared + layout.edge(number, column);
        lambda = !Step::adjoint && Step::maps == 0 ? t.lambda[region.solve] : 0.0f;

        const int within_octet = column % 8, octet_column = image_column - within_octet;
        octet = unsigned(column % 32 / 8);
        pixel_bit = 1u << image_column % pdhg_group;
        // Read by every lane that needs it, stored by one.
        const bool has_word = within_octet < count && octet_column < t.width &&
                              (Step::adjoint || (octet_column % pdhg_group == 0 &&
                                                 region.owns(first + within_octet, column - within_octet)));
        const int groups = (t.width + pdhg_group - 1) / pdhg_group;
        word_at = has_word ? row_of_image(t, within_octet) * groups + octet_column / pdhg_group : -1;
        solve = region.solve;
        word = {0, 0};
    }

    /// q_vertical of the strip's last row: the next strip's edge.
    __device__ float* next_edge() const { return edge + blockDim.x; }
    /// Of row r ≤ count. Past the border once at most: no strip has more rows than the image.
    __device__ int row_of_image(const Task& t, int r) const {
        const int row = image_row + r;
        return row < t.height ? row : row - t.height;
    }
    __device__ Place place(const Task& t, const Region& region, int r) const {
        return {region.solve, row_of_image(t, r), image_column};
    }
    __device__ Iterates iterates(int r) const {
        return {x[r], here[r * row_floats], p[r], q_vertical[r], here[r * row_floats + q_plane]};
    }
    __device__ void set(int r, const Iterates& i) {
        x[r] = i.x;
        here[r * row_floats] = i.x_bar;
        p[r] = i.p;
        q_vertical[r] = i.q_vertical;
        here[r * row_floats + q_plane] = i.q_horizontal;
    }

    /// Fills the strip, and the last one also the row of x̄ below the region. Lanes that are idle or beyond
    /// the rim get zeros.
    __device__ void load(const Task& t, const Region& region) {
        const bool idle = image_column >= t.width || !region.needs(column);
#pragma unroll
        for (int r = 0; r < strip_rows; ++r) {
            if (r < count) {
                const Place at = place(t, region, r);
                float* pixel = here + r * row_floats;
                set(r, idle ? Iterates{} : first_iterates<Step>(t, at));
                pixel[z_plane] = idle ? 0.0f : Step::adjoint ? first_sum_p(t, at) : image(t, at);
                if constexpr (Step::maps > 0)
                    pixel[map_plane] = Step::adjoint || idle ? 0.0f : map<Step>(t, at, 0);
                if constexpr (Step::maps == 2) {
                    pixel[other_map_plane] = Step::adjoint || idle ? 0.0f : map<Step>(t, at, 1);
                }
            }
        }
        if (ends(region)) {
            const bool beyond = idle || !region.closed;
            here[count * row_floats] = beyond ? 0.0f : first_iterates<Step>(t, place(t, region, count)).x_bar;
        }
    }
    /// Whether the strip has the region's last row.
    __device__ bool ends(const Region& region) const { return count > 0 && first + count == region.rows; }

    __device__ std::int64_t word_of(const Task& t, int iteration) const {
        return word_offset(t, solve, iteration, 0, 0) + word_at * std::int64_t(pdhg_group_mask_bytes);
    }
    /// Adjoint: gets the decisions for the next dual().
    __device__ void fetch_word(const Task& t, int iteration) {
        if (word_at >= 0) word = load_word(t, word_of(t, iteration));
    }
    /// Forward: stores what dual() decided.
    __device__ void store_word_of(const Task& t, int iteration) const {
        if (word_at >= 0) store_word(t, word_of(t, iteration), word, t.width - (image_column - column % 8));
    }

    /// p and q. Reads x̄ also from the right and from below; writes q_horizontal and the next strip's edge.
    __device__ void dual(const Task& t) {
        const Word known = word;
        float bar = here[0], last_vertical = 0.0f;
#pragma unroll
        for (int r = 0; r < strip_rows; ++r) {
            if (r < count) {
                float* pixel = here + r * row_floats;
                const float row_below = pixel[row_floats], below = r == border ? bar : row_below;
                const float v = unclipped(t, q_vertical[r], below - bar);
                const float h = unclipped(t, pixel[q_plane], right[r * row_floats] - bar);
                if constexpr (Step::adjoint) {
                    p[r] = next_p(t, p[r], bar);
                    if (t.sums_p()) pixel[z_plane] += p[r];
                    const Decision vertical = decision(__shfl_sync(~0u, known.vertical, r, 8), pixel_bit);
                    const Decision horizontal = decision(__shfl_sync(~0u, known.horizontal, r, 8), pixel_bit);
                    if constexpr (Step::maps > 0) {
                        pixel[map_plane] = map_gradient(pixel[map_plane], v, vertical);
                        pixel[other_map_plane] = map_gradient(pixel[other_map_plane], h, horizontal);
                    }
                    q_vertical[r] = pass(v, vertical);
                    pixel[q_plane] = pass(h, horizontal);
                } else {
                    p[r] = next_p(t, p[r], bar - pixel[z_plane]);
                    const float map_vertical = Step::maps == 0 ? lambda : pixel[map_plane];
                    const float map_horizontal = Step::maps == 0 ? lambda : pixel[other_map_plane];
                    if constexpr (Step::masks)
                        record(r, compare(v, map_vertical), compare(h, map_horizontal));
                    q_vertical[r] = clip(v, map_vertical);
                    pixel[q_plane] = clip(h, map_horizontal);
                }
                last_vertical = q_vertical[r];
                bar = row_below;
            }
        }
        if (count > 0) *next_edge() = last_vertical;
    }
    /// Collects the warp's decisions on row r in the lanes that hold its words.
    __device__ void record(int r, Decision vertical, Decision horizontal) {
        const unsigned above = __ballot_sync(~0u, vertical.above);
        const unsigned below = __ballot_sync(~0u, vertical.below);
        const unsigned right_above = __ballot_sync(~0u, horizontal.above);
        const unsigned right_below = __ballot_sync(~0u, horizontal.below);
        const Word row{pack(above, below, octet), pack(right_above, right_below, octet)};
        if (column % 8 == r) word = row;
    }

    /// x and x̄, from the new q, also that to the left and above.
    __device__ void primal(const Task& t) {
        float above = *edge;
#pragma unroll
        for (int r = 0; r < strip_rows; ++r) {
            if (r < count) {
                const Primal next =
                    pdhg::primal(t, x[r], p[r], above, q_vertical[r], left[r * row_floats + q_plane],
                                 here[r * row_floats + q_plane]);
                x[r] = next.x;
                here[r * row_floats] = next.x_bar;
                above = q_vertical[r];
            }
        }
    }

    /// Stores the results of the pixels that the block owns.
    __device__ void finish(const Task& t, const Region& region) const {
#pragma unroll
        for (int r = 0; r < strip_rows; ++r) {
            if (r < count && region.owns(first + r, column)) {
                const Place at = place(t, region, r);
                const float* pixel = here + r * row_floats;
                if constexpr (Step::adjoint) {
                    store_adjoint<Step>(t, at, iterates(r), pixel[z_plane],
                                        Step::maps > 0 ? pixel[map_plane] : 0.0f, pixel[other_map_plane]);
                } else {
                    store_forward(t, at, iterates(r));
                }
            }
        }
    }
};

}  // namespace tvmap::pdhg
