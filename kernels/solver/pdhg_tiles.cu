// The solver with one block per tile of an image, all blocks at once, the state in registers and shared
// memory for all steps. A block keeps its tile with a rim of k pixels, recomputes the rim as its neighbours
// do, and so makes k steps alone, the good part of its region shrinking by one pixel a side and step. Then
//     it publishes its tile in global memory and raises its flag to the round's number,
//     waits until the flags of all tiles that its rim touches have got there,
//     loads its rim.
// Of two buffers the rounds take turns, so nobody overwrites what a neighbour still reads: a neighbour that
// has published round n+1 has read round n. Rims wrap round the image's border.
//
// Solves of which the device does not hold all tiles at once follow each other in groups.
//
// Columns: a region is 16 + 2·8 columns, a warp whose lanes 8 … 23 are a mask's group of 16 pixels, or a
// multiple of 32 with 16 more on either side.
#include <algorithm>

#include "kernels/base/bump_allocator.h"
#include "kernels/solver/pdhg_mappings.h"
#include "kernels/solver/pdhg_region.h"

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

// The tile with its rim.
__device__ inline Region region_of(const Task& t, const Tiling& tiling, int solve, int tile) {
    const int top = tile / tiling.across * tiling.rows, left = tile % tiling.across * tiling.columns;
    Region region;
    region.solve = solve;
    region.top = top - tiling.steps;
    region.left = left - tiling.halo_columns;
    region.first_row = tiling.steps;
    region.first_column = tiling.halo_columns;
    region.own_rows = min(tiling.rows, t.height - top);
    region.own_columns = min(tiling.columns, t.width - left);
    region.rows = region.own_rows + 2 * tiling.steps;
    region.closed = false;
    region.rim = tiling.steps;
    return region;
}

// What blocks exchange: two buffers of exchanged_planes × solves×H×W floats, and the number of the last round
// that each block has published.
struct Exchange {
    float* planes;
    unsigned* rounds;

    // Where the iterates of a round lie, plane by plane.
    __device__ float* buffer(const Task& t, unsigned round) const {
        return planes + std::int64_t(round % 2) * exchanged_planes * t.solves * t.pixels();
    }
    __device__ void publish(const Task& t, unsigned round, std::int64_t at, const Iterates& i) const {
        const std::int64_t plane = t.solves * t.pixels();
        float* to = buffer(t, round) + at;
        to[0] = i.x;
        to[plane] = i.x_bar;
        to[2 * plane] = i.p;
        to[3 * plane] = i.q_vertical;
        to[4 * plane] = i.q_horizontal;
    }
    __device__ Iterates published(const Task& t, unsigned round, std::int64_t at) const {
        const std::int64_t plane = t.solves * t.pixels();
        const float* from = buffer(t, round) + at;
        return {from[0], from[plane], from[2 * plane], from[3 * plane], from[4 * plane]};
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

// Which tile's flag the thread waits for, among those that the region touches; −1: none. There are threads
// enough: a warp for at most 8 rows of the region, hence 4 threads a row, and a region touches at most one
// tile a row down and 4 across.
__device__ inline int neighbour_of_thread(const Task& t, const Tiling& tiling, const Region& region) {
    const TileRange down(region.top + region.first_row, region.own_rows, tiling.steps, t.height, tiling.rows,
                         tiling.down);
    const TileRange across(region.left + region.first_column, region.own_columns, tiling.steps, t.width,
                           tiling.columns, tiling.across);
    const int n = int(threadIdx.y * blockDim.x + threadIdx.x);
    if (n >= down.count * across.count) return -1;
    const int row = (down.first + n / across.count) % tiling.down;
    const int column = (across.first + n % across.count) % tiling.across;
    return region.solve * tiling.tiles() + row * tiling.across + column;
}

// Waits until that tile has published the round; after the next barrier, all neighbours have.
__device__ inline void wait_for_neighbours(const Exchange& exchange, int neighbour, unsigned round) {
    if (neighbour >= 0) gpu::wait_until(exchange.rounds + neighbour, round, "pdhg_tiles_kernel");
}

template <class Step, int strip_rows>
__device__ inline void publish_tile(const Task& t, const Region& region, const Exchange& exchange,
                                    unsigned round, const Strip<Step, strip_rows>& strip) {
#pragma unroll
    for (int r = 0; r < strip_rows; ++r) {
        if (r < strip.count && region.owns(strip.first + r, strip.column)) {
            exchange.publish(t, round, index(t, strip.place(t, region, r)), strip.iterates(r));
        }
    }
}

template <class Step, int strip_rows>
__device__ inline void load_rim(const Task& t, const Region& region, const Exchange& exchange, unsigned round,
                                Strip<Step, strip_rows>& strip) {
    if (!region.needs(strip.column)) return;
#pragma unroll
    for (int r = 0; r < strip_rows; ++r) {
        if (r < strip.count && !region.owns(strip.first + r, strip.column)) {
            strip.set(r, exchange.published(t, round, index(t, strip.place(t, region, r))));
        }
    }
}

template <class Step, int strip_rows>
__global__ void __launch_bounds__(most_threads)
    pdhg_tiles_kernel(Task t, int first_solve, SharedLayout<Step> layout, Tiling tiling, Exchange exchange) {
    if (t.settled()) return;
    const int tile = int(blockIdx.x) % tiling.tiles(), solve = first_solve + int(blockIdx.x) / tiling.tiles();
    const Region region = region_of(t, tiling, solve, tile);
    Strip<Step, strip_rows> strip(t, region, layout, gpu::shared_memory<float>());
    strip.load(t, region);
    if constexpr (Step::adjoint) {
        if (t.iterations > 0) strip.fetch_word(t, t.iterations - 1);
    }
    __syncthreads();
    const int neighbour = neighbour_of_thread(t, tiling, region);
    unsigned round = 0;
    if (t.start_from_state) {
        // Nobody gets to the end, where the state is replaced, while a neighbour is still loading it.
        round = 1;
        if (threadIdx.x == 0 && threadIdx.y == 0) {
            gpu::store_release(exchange.rounds + solve * tiling.tiles() + tile, round);
        }
        wait_for_neighbours(exchange, neighbour, round);
        __syncthreads();
    }
    int stale = 0;  // pixels of the region that are, on each side: steps since the last exchange
    for (int k = 0; k < t.iterations; ++k, ++stale) {
        if (stale == tiling.steps) {
            ++round;
            publish_tile(t, region, exchange, round, strip);
            __syncthreads();
            if (threadIdx.x == 0 && threadIdx.y == 0) {
                gpu::store_release(exchange.rounds + solve * tiling.tiles() + tile, round);
            }
            wait_for_neighbours(exchange, neighbour, round);
            __syncthreads();
            load_rim(t, region, exchange, round, strip);
            stale = 0;
            __syncthreads();
        }
        // Strips of nothing but stale rows rest until the next exchange.
        const bool active = strip.first + strip.count > stale && strip.first < region.rows - stale;
        if (active) strip.dual(t);
        __syncthreads();
        if constexpr (Step::adjoint) {
            if (k + 1 < t.iterations) strip.fetch_word(t, t.iterations - 2 - k);
        } else if constexpr (Step::masks) {
            strip.store_word_of(t, k);
        }
        if (active) strip.primal(t);
        __syncthreads();
    }
    strip.finish(t, region);
}

// Calls body(how, kernel, layout) with the launch of one solve.
template <class Step, class Body>
auto with_launch(const Tiling& tiling, const Body& body) {
    const int strip_rows = tiling.strip_rows();
    const SharedLayout<Step> layout{tiling.region_rows(), tiling.panels(), tiling.strips(strip_rows)};
    const gpu::Launch how{.name = "pdhg_tiles_kernel",
                          .grid = dim3(unsigned(tiling.tiles())),
                          .block = layout.block(),
                          .shared_bytes = std::size_t(layout.floats()) * sizeof(float),
                          .cooperative = true};
    return strip_rows == 2 ? body(how, pdhg_tiles_kernel<Step, 2>, layout)
                           : body(how, pdhg_tiles_kernel<Step, 8>, layout);
}

// Solves whose tiles the device holds at once; 0 where a block asks for too much.
template <class Step>
int solves_at_once(const Tiling& tiling) {
    return with_launch<Step>(tiling, [&](const gpu::Launch& how, auto kernel, const auto&) {
        const bool fits = how.shared_bytes <= gpu::device().shared_per_block;
        return fits ? gpu::resident_blocks(how, kernel) / tiling.tiles() : 0;
    });
}

// The workspace, cut up: the tiles' flags, and the rims that they exchange.
struct Workspace {
    Exchange exchange;
    std::size_t flags, bytes;

    Workspace(int solves, std::int64_t pixels, const Tiling& tiling, void* memory = nullptr)
        : flags(std::size_t(solves) * std::size_t(tiling.tiles())) {
        BumpAllocator pieces(memory);
        exchange.rounds = pieces.take<unsigned>(flags);
        exchange.planes =
            pieces.take<float>(std::size_t(2 * exchanged_planes) * std::size_t(solves) * std::size_t(pixels));
        bytes = pieces.bytes();
    }
};

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
    const bool separate = problem.map == MapKind::separate;
    const int forward =
        separate ? solves_at_once<Forward<true, 2>>(tiling) : solves_at_once<Forward<true, 1>>(tiling);
    const int adjoint = separate ? solves_at_once<Adjoint<2>>(tiling) : solves_at_once<Adjoint<1>>(tiling);
    if (forward < 1 || adjoint < 1)
        return text("the device does not hold ", tiling.tiles(), " such tiles at once");
    return {};
}

double tiles_cost(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    const Tiling tiling(problem.height, problem.width, mapping);
    const int processors = gpu::device().multiprocessors;
    const int at_once = std::max(1, processors / tiling.tiles());
    const double launches = (problem.solves + at_once - 1) / at_once;
    // Rows grow stale one a side and step, and rest with their strips.
    const double active_rows = std::min(tiling.rows + tiling.steps + 2, tiling.region_rows());
    return launches *
           (32.0 * tiling.panels() * active_rows + 2 * block_barrier_cost + exchange_cost / tiling.steps);
}

std::size_t tiles_workspace_bytes(const PdhgProblem& problem, const cuda::PdhgMapping& mapping) {
    return Workspace(problem.solves, problem.pixels(), {problem.height, problem.width, mapping}).bytes;
}

void run_tiles(gpu::Stream stream, const Task& task, Direction direction, const cuda::PdhgMapping& mapping,
               void* workspace) {
    const Tiling tiling(task.height, task.width, mapping);
    const Workspace space(task.solves, task.pixels(), tiling, workspace);
    const Exchange exchange = space.exchange;
    gpu::fill(stream, exchange.rounds, 0, space.flags * sizeof(unsigned));
    for_step(task, direction, [&](auto step) {
        const int at_once = std::max(1, solves_at_once<decltype(step)>(tiling));
        with_launch<decltype(step)>(tiling, [&](gpu::Launch how, auto kernel, const auto& layout) {
            for (int first = 0; first < task.solves; first += at_once) {
                how.grid.x = unsigned(std::min(at_once, task.solves - first) * tiling.tiles());
                gpu::launch(stream, how, kernel, task, first, layout, tiling, exchange);
            }
        });
    });
}

}  // namespace tvmap::pdhg
