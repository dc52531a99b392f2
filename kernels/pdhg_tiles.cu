// The solver with one block per tile of an image, all blocks at once, the state in registers and shared
// memory for all steps. A block keeps its tile with a rim of k pixels, recomputes the rim as its neighbours
// do, and so makes k steps alone, the good part of its region shrinking by one pixel a side and step. Then
//     it publishes its tile in global memory and raises its flag to the round's number,
//     waits until the flags of all tiles that its rim touches have got there,
//     loads its rim.
// Of two buffers the rounds take turns, so nobody overwrites what a neighbour still reads: a neighbour that
// has published round n+1 has read round n. Rims wrap round the image's border.
//
// Columns: a region is 16 + 2·8 columns, a warp whose lanes 8 … 23 are a mask's group of 16 pixels, or a
// multiple of 32 with 16 more on either side.
#include "kernels/pdhg_mappings.h"
#include "kernels/pdhg_region.h"

namespace tvmap::pdhg {
namespace {

constexpr int most_threads = 1024;
constexpr int exchanged_planes = 5;

// How images are cut.
struct Tiling {
    int rows, columns;  // of a tile; the last of a row or column may be smaller
    int steps;          // k
    int halo_columns;   // of a region, each side; at least k
    int down, across;   // tiles of an image

    Tiling(int height, int width, const cuda::PdhgMapping& mapping)
        : rows(mapping.tile_rows),
          columns(mapping.tile_columns),
          steps(mapping.steps),
          halo_columns(columns == 16 ? 8 : 16),
          down((height + rows - 1) / rows),
          across((width + columns - 1) / columns) {}
    int region_rows() const { return rows + 2 * steps; }
    int panels() const { return (columns + 2 * halo_columns) / 32; }
    // Rows of a thread, the fewest that do; 0 where none do.
    int strip_rows() const {
        for (const int candidate : {2, 8}) {
            if (32 * panels() * strips(candidate) <= most_threads) return candidate;
        }
        return 0;
    }
    int strips(int per_strip) const { return (region_rows() + per_strip - 1) / per_strip; }
    __host__ __device__ int tiles() const { return down * across; }
};

// What blocks exchange: two buffers of exchanged_planes × solves×H×W floats, and the number of the last round
// that each block has published.
struct Exchange {
    float* planes;
    unsigned* rounds;

    __device__ float* buffer(const Task& t, unsigned round, int plane) const {
        return planes + (std::int64_t(round % 2) * exchanged_planes + plane) * t.solves * t.pixels();
    }
    __device__ void publish(const Task& t, unsigned round, std::int64_t at, const Iterates& i) const {
        buffer(t, round, 0)[at] = i.x;
        buffer(t, round, 1)[at] = i.x_bar;
        buffer(t, round, 2)[at] = i.p;
        buffer(t, round, 3)[at] = i.q_vertical;
        buffer(t, round, 4)[at] = i.q_horizontal;
    }
    __device__ Iterates published(const Task& t, unsigned round, std::int64_t at) const {
        return {buffer(t, round, 0)[at], buffer(t, round, 1)[at], buffer(t, round, 2)[at],
                buffer(t, round, 3)[at], buffer(t, round, 4)[at]};
    }
};

// Tiles in one direction that an extent touches, round the border: first, first + 1, …
struct TileRange {
    int first, count;

    // The extent is `own` pixels from `begin` and `rim` more on either side; n pixels in all.
    __device__ TileRange(int begin, int own, int rim, int n, int tile, int tiles) {
        first = wrap(begin - rim, n) / tile;
        const int last = wrap(begin + own + rim - 1, n) / tile;
        // Near a whole turn the ends may share a tile.
        count = own + 2 * rim + tile > n ? tiles : wrap(last - first, tiles) + 1;
    }
};

// Waits until all tiles that the region touches have published the round.
__device__ inline void wait_for_neighbours(const Task& t, const Tiling& tiling, const Region& region,
                                           const unsigned* rounds, unsigned round) {
    const TileRange down(region.top + region.first_row, region.own_rows, tiling.steps, t.height, tiling.rows,
                         tiling.down);
    const TileRange across(region.left + region.first_column, region.own_columns, tiling.steps, t.width,
                           tiling.columns, tiling.across);
    for (int n = int(threadIdx.x); n < down.count * across.count; n += int(blockDim.x)) {
        const int row = (down.first + n / across.count) % tiling.down;
        const int column = (across.first + n % across.count) % tiling.across;
        const unsigned* flag = rounds + region.solve * tiling.tiles() + row * tiling.across + column;
        while (gpu::load_acquire(flag) < round) gpu::pause();
    }
}

template <class Step, int strip_rows>
__global__ void __launch_bounds__(most_threads)
    pdhg_tiles_kernel(Task t, SharedLayout<Step> layout, Tiling tiling, Exchange exchange) {
    const int tile = int(blockIdx.x) % tiling.tiles();
    const int tile_top = tile / tiling.across * tiling.rows,
              tile_left = tile % tiling.across * tiling.columns;
    const int k = tiling.steps;
    Region region;
    region.solve = int(blockIdx.x) / tiling.tiles();
    region.top = tile_top - k;
    region.left = tile_left - tiling.halo_columns;
    region.own_rows = min(tiling.rows, t.height - tile_top);
    region.own_columns = min(tiling.columns, t.width - tile_left);
    region.first_row = k;
    region.first_column = tiling.halo_columns;
    region.rows = region.own_rows + 2 * k;
    region.closed = false;
    Strip<Step, strip_rows> strip(t, region, layout, gpu::shared_memory<float>());
    const int columns_away = max(region.first_column - strip.column,
                                 strip.column - (region.first_column + region.own_columns - 1));

    strip.load(t, region);
    if constexpr (Step::adjoint) {
        if (t.iterations > 0) strip.fetch_word(t, t.iterations - 1);
    }
    __syncthreads();
    unsigned round = 0;
    int since = 0;  // steps since the last exchange
    for (int done = 0; done < t.iterations; ++done, ++since) {
        if (since == k) {
            since = 0;
            ++round;
#pragma unroll
            for (int r = 0; r < strip_rows; ++r) {
                if (r < strip.count && region.owns(strip.first + r, strip.column)) {
                    exchange.publish(t, round, index(t, strip.place(t, region, r)), strip.iterates(r));
                }
            }
            __syncthreads();
            if (threadIdx.x == 0) gpu::store_release(exchange.rounds + blockIdx.x, round);
            wait_for_neighbours(t, tiling, region, exchange.rounds, round);
            __syncthreads();
#pragma unroll
            for (int r = 0; r < strip_rows; ++r) {
                if (r < strip.count && columns_away <= k && !region.owns(strip.first + r, strip.column)) {
                    strip.set(r, exchange.published(t, round, index(t, strip.place(t, region, r))));
                }
            }
            __syncthreads();
        }
        // Strips that lie in what has gone stale have nothing to do until the next exchange.
        const bool active = strip.first + strip.count > since && strip.first < region.rows - since;
        if (active) strip.dual(t);
        __syncthreads();
        if constexpr (Step::adjoint) {
            if (done + 1 < t.iterations) strip.fetch_word(t, t.iterations - 2 - done);
        } else if constexpr (Step::masks) {
            strip.store_word_of(t, done);
        }
        if (active) strip.primal(t);
        __syncthreads();
    }
    strip.finish(t, region);
}

// Calls body(how, kernel, layout) with the launch that serves.
template <class Step, class Body>
auto with_launch(int solves, const Tiling& tiling, const Body& body) {
    const int strip_rows = tiling.strip_rows();
    const SharedLayout<Step> layout{tiling.region_rows(), tiling.panels(), tiling.strips(strip_rows)};
    const gpu::Launch how{.name = "pdhg_tiles_kernel",
                          .grid = dim3(unsigned(solves) * unsigned(tiling.tiles())),
                          .block = dim3(unsigned(layout.threads())),
                          .shared_bytes = std::size_t(layout.floats()) * sizeof(float),
                          .cooperative = true};
    return strip_rows == 2 ? body(how, pdhg_tiles_kernel<Step, 2>, layout)
                           : body(how, pdhg_tiles_kernel<Step, 8>, layout);
}

// Blocks that the device holds at once; 0 where a block asks for too much shared memory.
template <class Step>
int resident_blocks(int solves, const Tiling& tiling) {
    return with_launch<Step>(solves, tiling, [](const gpu::Launch& how, auto kernel, const auto&) {
        return how.shared_bytes > gpu::device().shared_per_block ? 0 : gpu::resident_blocks(how, kernel);
    });
}

std::size_t round_bytes(std::int64_t blocks) {
    return (std::size_t(blocks) * sizeof(unsigned) + 63) / 64 * 64;
}

}  // namespace

std::string tiles_refusal(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    if (mapping.tile_rows < 1 || mapping.steps < 1 ||
        (mapping.tile_columns != 16 && (mapping.tile_columns < 32 || mapping.tile_columns % 32 != 0))) {
        return text("tiles of ", mapping.tile_rows, "x", mapping.tile_columns, " and ", mapping.steps,
                    " steps; columns are 16 or a multiple of 32, rows and steps positive");
    }
    const Tiling tiling(problem.height, problem.width, mapping);
    if (mapping.steps > tiling.halo_columns) {
        return text(mapping.steps, " steps between exchanges; ", tiling.halo_columns,
                    " is the most that tiles of ", mapping.tile_columns, " columns have");
    }
    if (problem.width % 8 != 0 || problem.height < 8) {
        return "tiles need a width that is a multiple of 8, and 8 rows";
    }
    if (tiling.strip_rows() == 0) {
        return text("a tile of ", mapping.tile_rows, "x", mapping.tile_columns, " exceeds a block's threads");
    }
    const std::int64_t blocks = std::int64_t(problem.solves) * tiling.tiles();
    const bool separate = problem.map == MapKind::separate;
    const int resident =
        separate
            ? std::min(resident_blocks<Forward<true, 2>>(1, tiling), resident_blocks<Adjoint<2>>(1, tiling))
            : std::min(resident_blocks<Forward<true, 1>>(1, tiling), resident_blocks<Adjoint<1>>(1, tiling));
    if (blocks > resident) {
        return text(blocks, " tiles; the device holds ", resident, " of them at once");
    }
    return {};
}

std::size_t tiles_workspace_bytes(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    const Tiling tiling(problem.height, problem.width, mapping);
    return round_bytes(std::int64_t(problem.solves) * tiling.tiles()) +
           std::size_t(2 * exchanged_planes) * std::size_t(problem.solves) * std::size_t(problem.pixels()) *
               sizeof(float);
}

void run_tiles(gpu::Stream stream, const Task& task, Direction direction, const cuda::PdhgMapping& mapping,
               void* workspace) {
    const Tiling tiling(task.height, task.width, mapping);
    const std::size_t flags = round_bytes(std::int64_t(task.solves) * tiling.tiles());
    auto* bytes = static_cast<std::byte*>(workspace);
    const Exchange exchange{reinterpret_cast<float*>(bytes + flags), reinterpret_cast<unsigned*>(bytes)};
    gpu::fill(stream, exchange.rounds, 0, flags);
    for_step(task, direction, [&](auto step) {
        with_launch<decltype(step)>(task.solves, tiling,
                                    [&](const gpu::Launch& how, auto kernel, const auto& layout) {
                                        gpu::launch(stream, how, kernel, task, layout, tiling, exchange);
                                    });
    });
}

}  // namespace tvmap::pdhg
