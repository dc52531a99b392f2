// PSNR and both SSIMs of many images at once. A block takes a tile of 16×32 pixels: its share of the squared
// error, and the SSIM at the places of both windows whose upper left corner lies in the tile. The formula is
// that of kernels/training/metrics.cpp, four sums carry it: E[x], E[y], E[xx + yy], E[xy], here first along the rows
// of the tile and the window's reach below it, then down the columns. A second kernel adds up the tiles of an
// image in order.
#include "kernels/training/metrics.h"

#include <cmath>

#include "kernels/base/error.h"
#include "kernels/gpu/block_sum.h"
#include "kernels/gpu/gpu.h"
#include "kernels/training/ssim_window.h"

namespace tvmap::cuda {
namespace {

constexpr int tile_rows = 16, tile_columns = 32, threads = 256;
constexpr int reach = SsimWindow::most_taps - 1;
constexpr int source_rows = tile_rows + reach, source_columns = tile_columns + reach;
// Neighbouring threads take neighbouring rows when they sum along rows: odd strides keep them on different
// banks.
constexpr int source_stride = source_columns + 1, sum_stride = tile_columns + 1;
// Along a row a thread makes four neighbouring sums, down a column two, so that windows share what they read.
constexpr int row_run = 4, column_run = 2;
static_assert(tile_rows * tile_columns == column_run * threads);

struct Moments {
    double x = 0, y = 0, squares = 0, products = 0;

    __device__ void add(double weight, const Moments& m) {
        x = fma(weight, m.x, x);
        y = fma(weight, m.y, y);
        squares = fma(weight, m.squares, squares);
        products = fma(weight, m.products, products);
    }
};

/// A block's shared memory: the tile with the windows' reach, and the sums along rows. Pixels beyond the
/// image are zero; no window that counts has any.
struct Tile {
    double sums[4][source_rows * sum_stride];
    double warp[3][threads / 32];  // room for block_sum
    float x[source_rows * source_stride], y[source_rows * source_stride];

    __device__ Moments pixel(int row, int column) const {
        const double a = x[row * source_stride + column], b = y[row * source_stride + column];
        Moments m;
        m.x = a, m.y = b, m.squares = fma(a, a, b * b), m.products = a * b;
        return m;
    }
    __device__ Moments row_sum(int row, int column) const {
        const int at = row * sum_stride + column;
        Moments m;
        m.x = sums[0][at], m.y = sums[1][at], m.squares = sums[2][at], m.products = sums[3][at];
        return m;
    }
    __device__ void set_row_sum(int row, int column, const Moments& m) {
        const int at = row * sum_stride + column;
        sums[0][at] = m.x, sums[1][at] = m.y, sums[2][at] = m.squares, sums[3][at] = m.products;
    }
};

struct Size {
    int height, width;
};

/// What one image's tiles leave for the second kernel.
struct TileSums {
    double squared_error, ssim, ssim_uniform;
};

/// Adds weight[k]·m to the sums of those windows in a run that have it at tap k: number `place` − k.
template <int taps, int run>
__device__ void add_to_run(Moments (&sums)[run], const SsimWindow& window, int place, const Moments& m) {
#pragma unroll
    for (int r = 0; r < run; ++r)
        if (place - r >= 0 && place - r < taps) sums[r].add(window.weight[place - r], m);
}

__device__ double ssim_at(const SsimWindow& window, const Moments& e) {
    const double exy = e.x * e.y, exx = fma(e.x, e.x, e.y * e.y);
    const double covariance = window.covariance_scale * (e.products - exy);
    const double variances = window.covariance_scale * (e.squares - exx);
    const double above = fma(2.0, exy, ssim_c1) * fma(2.0, covariance, ssim_c2);
    return above / ((exx + ssim_c1) * (variances + ssim_c2));
}

/// Σ of this thread's share of the SSIM at the places of the tile where the window fits; (top, left) is the
/// tile's first pixel.
template <int taps>
__device__ double sum_ssim(Tile& tile, const SsimWindow& window, Size size, int top, int left) {
    constexpr int rows = tile_rows + taps - 1;
    for (int item = int(threadIdx.x); item < rows * (tile_columns / row_run); item += threads) {
        const int row = item % rows, column = item / rows * row_run;
        Moments sums[row_run];
#pragma unroll
        for (int k = 0; k < taps + row_run - 1; ++k)
            add_to_run<taps>(sums, window, k, tile.pixel(row, column + k));
#pragma unroll
        for (int r = 0; r < row_run; ++r) tile.set_row_sum(row, column + r, sums[r]);
    }
    __syncthreads();
    const int column = int(threadIdx.x) % tile_columns, row = int(threadIdx.x) / tile_columns * column_run;
    Moments sums[column_run];
#pragma unroll
    for (int k = 0; k < taps + column_run - 1; ++k)
        add_to_run<taps>(sums, window, k, tile.row_sum(row + k, column));
    double total = 0;
#pragma unroll
    for (int r = 0; r < column_run; ++r)
        if (top + row + r + taps <= size.height && left + column + taps <= size.width)
            total += ssim_at(window, sums[r]);
    __syncthreads();
    return total;
}

__global__ void __launch_bounds__(threads)
    image_quality_tiles_kernel(const float* images, const float* truths, int images_per_truth, Size size,
                               int tiles_across, int tiles, SsimWindow gaussian, SsimWindow uniform,
                               TileSums* tile_sums) {
    const int image = int(blockIdx.x) / tiles, number = int(blockIdx.x) % tiles;
    const int top = number / tiles_across * tile_rows, left = number % tiles_across * tile_columns;
    const std::int64_t pixels = std::int64_t(size.height) * size.width;
    images += image * pixels, truths += image / images_per_truth * pixels;

    Tile& tile = *gpu::shared_memory<Tile>();
    double squared_error = 0;
    for (int item = int(threadIdx.x); item < source_rows * source_columns; item += threads) {
        const int row = item / source_columns, column = item % source_columns;
        float x = 0, y = 0;
        if (top + row < size.height && left + column < size.width) {
            const std::int64_t at = std::int64_t(top + row) * size.width + left + column;
            x = images[at], y = truths[at];
        }
        if (row < tile_rows && column < tile_columns) {
            const double error = double(x) - double(y);
            squared_error += error * error;
        }
        tile.x[row * source_stride + column] = x, tile.y[row * source_stride + column] = y;
    }
    __syncthreads();
    const double ssim = sum_ssim<11>(tile, gaussian, size, top, left);
    const double ssim_uniform = sum_ssim<7>(tile, uniform, size, top, left);
    squared_error = gpu::block_sum(squared_error, tile.warp[0]);
    const double all_ssim = gpu::block_sum(ssim, tile.warp[1]);
    const double all_ssim_uniform = gpu::block_sum(ssim_uniform, tile.warp[2]);
    if (threadIdx.x == 0) tile_sums[blockIdx.x] = {squared_error, all_ssim, all_ssim_uniform};
}

/// Mean over the places where a window fits, NaN where there are none.
__device__ double mean_ssim(double sum, Size size, int taps) {
    const int rows = size.height - taps + 1, columns = size.width - taps + 1;
    return rows < 1 || columns < 1 ? nan("") : sum / (double(rows) * columns);
}

/// One warp per image.
__global__ void image_quality_kernel(const TileSums* tile_sums, Size size, int tiles, ImageQuality* quality) {
    double* room = gpu::shared_memory<double>();
    TileSums sum = {0, 0, 0};
    for (int tile = int(threadIdx.x); tile < tiles; tile += int(blockDim.x)) {
        const TileSums& t = tile_sums[std::int64_t(blockIdx.x) * tiles + tile];
        sum.squared_error += t.squared_error;
        sum.ssim += t.ssim;
        sum.ssim_uniform += t.ssim_uniform;
    }
    sum.squared_error = gpu::block_sum(sum.squared_error, room);
    sum.ssim = gpu::block_sum(sum.ssim, room + 1);
    sum.ssim_uniform = gpu::block_sum(sum.ssim_uniform, room + 2);
    if (threadIdx.x != 0) return;
    ImageQuality& q = quality[blockIdx.x];
    q.psnr = -10 * log10(sum.squared_error / (double(size.height) * size.width));
    q.ssim = mean_ssim(sum.ssim, size, 11);
    q.ssim_uniform = mean_ssim(sum.ssim_uniform, size, 7);
}

std::int64_t tiles_down(int height) { return (height + tile_rows - 1) / tile_rows; }
std::int64_t tiles_across(int width) { return (width + tile_columns - 1) / tile_columns; }

}  // namespace

std::size_t image_quality_workspace_bytes(const ComparedImages& c) {
    return std::size_t(c.count * tiles_down(c.height) * tiles_across(c.width)) * sizeof(TileSums);
}

void image_quality(gpu::Stream stream, const ComparedImages& c, ImageQuality* quality, void* workspace) {
    if (c.count == 0) return;
    const Size size{c.height, c.width};
    const std::int64_t tiles = tiles_down(c.height) * tiles_across(c.width);
    if (tiles * c.count > INT32_MAX)
        fail("image quality: ", c.count, " images of ", c.height, "×", c.width,
             " are more than one launch can take; measure fewer at a time");
    auto* tile_sums = static_cast<TileSums*>(workspace);
    gpu::launch(stream,
                {.name = "image_quality_tiles_kernel",
                 .grid = unsigned(tiles * c.count),
                 .block = threads,
                 .shared_bytes = sizeof(Tile)},
                image_quality_tiles_kernel, c.images, c.truths, c.images_per_truth, size,
                int(tiles_across(c.width)), int(tiles), gaussian_ssim_window(), uniform_ssim_window(),
                tile_sums);
    constexpr unsigned adders = 32;
    gpu::launch(stream,
                {.name = "image_quality_kernel",
                 .grid = unsigned(c.count),
                 .block = adders,
                 .shared_bytes = 3 * sizeof(double)},
                image_quality_kernel, tile_sums, size, int(tiles), quality);
}

}  // namespace tvmap::cuda
