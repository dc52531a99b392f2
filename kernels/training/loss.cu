// The order of a sum: an image is cut into 8 parts of equal length, a part is summed by one block, thread t
// taking values t, t + 256, …; then the block's threads, then the parts in order. The parts' blocks are a
// cluster that adds up over shared memory, or, where there are no clusters or little to do, one block that
// takes them in turn: the same bits.
#include "kernels/training/loss.h"

#include <cmath>

#include "kernels/base/block_sum.h"
#include "kernels/base/gpu.h"
#include "kernels/base/shapes.h"

namespace tvmap::cuda {
namespace {

constexpr unsigned threads = 256, parts = 8;

/// Shared memory of image_mse_kernel.
struct ImageSums {
    double part[parts];                // of the cluster's first block alone
    double warp[parts][threads / 32];  // room for block_sum
};

/// image_mse[n] = Σ (x − y)² / size, by one cluster of `cluster` blocks (1 or `parts`) per image.
__global__ void image_mse_kernel(const float* x, std::int64_t x_stride, const float* y, std::int64_t y_stride,
                                 std::int64_t size, unsigned cluster, double* image_mse) {
    const unsigned n = blockIdx.x / cluster, rank = blockIdx.x % cluster;
    x += n * x_stride, y += n * y_stride;
    ImageSums& own = *gpu::shared_memory<ImageSums>();
    double* sums = own.part;
    if (cluster > 1) {
        gpu::cluster_barrier();  // the first block's shared memory exists once that block runs
        sums = gpu::cluster_shared(own.part, 0);
    }
    const std::int64_t length = (size + parts - 1) / parts;
    for (unsigned part = rank; part < parts; part += cluster) {
        const std::int64_t begin = part * length, end = begin + length < size ? begin + length : size;
        double sum = 0;
#pragma unroll 8
        for (std::int64_t i = begin + threadIdx.x; i < end; i += threads) {
            const double error = double(x[i]) - double(y[i]);
            sum += error * error;
        }
        sum = gpu::block_sum(sum, own.warp[part]);
        if (threadIdx.x == 0) sums[part] = sum;
    }
    if (cluster > 1) gpu::cluster_barrier();
    if (rank == 0 && threadIdx.x == 0) {
        double total = 0;
        for (const double sum : own.part) total += sum;
        image_mse[n] = total / double(size);
    }
}

/// One thread: a batch is short.
__global__ void mean_loss_kernel(LossKind kind, int n, const double* image_mse, double* loss) {
    double sum = 0;
    for (int i = 0; i < n; ++i)
        sum +=
            kind == LossKind::mse ? image_mse[i] : log(image_mse[i] < mse_floor ? mse_floor : image_mse[i]);
    *loss = sum / n;
}

template <Write write>
__global__ void loss_backward_kernel(LossKind kind, double mean, const double* image_mse, std::int64_t size,
                                     const float* x, std::int64_t x_stride, const float* y,
                                     std::int64_t y_stride, float* d_x, std::int64_t d_x_stride) {
    const unsigned n = blockIdx.y;
    const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= size) return;
    double factor = mean;
    if (kind == LossKind::log_mse) factor = image_mse[n] < mse_floor ? 0.0 : mean / image_mse[n];
    const float gradient = float(factor) * (x[n * x_stride + i] - y[n * y_stride + i]);
    float& to = d_x[n * d_x_stride + i];
    to = write == Write::accumulate ? to + gradient : gradient;
}

}  // namespace

void loss_forward(gpu::Stream stream, LossKind kind, ConstView x, ConstView target, double* image_mse,
                  double* loss) {
    require_shape("loss", "target", target.shape, x.shape);
    const int n = x.shape.n;
    const std::int64_t size = x.shape.image_size();
    constexpr std::int64_t worth_a_cluster = 8192;
    const bool clusters = size >= worth_a_cluster && gpu::device().largest_cluster >= int(parts);
    const unsigned cluster = clusters ? parts : 1;
    gpu::launch(stream,
                {.name = "image_mse_kernel",
                 .grid = unsigned(n) * cluster,
                 .block = threads,
                 .cluster = cluster,
                 .shared_bytes = sizeof(ImageSums)},
                image_mse_kernel, x.data, x.shape.image_stride, target.data, target.shape.image_stride, size,
                cluster, image_mse);
    gpu::launch(stream, {.name = "mean_loss_kernel", .block = 1}, mean_loss_kernel, kind, n, image_mse, loss);
}

void loss_backward(gpu::Stream stream, LossKind kind, ConstView x, ConstView target, const double* image_mse,
                   View d_x, Write write) {
    require_shape("loss backward", "target", target.shape, x.shape);
    require_shape("loss backward", "d_x", d_x.shape, x.shape);
    const std::int64_t size = x.shape.image_size();
    const double mean = 2.0 / (double(size) * x.shape.n);
    gpu::launch(stream,
                {.name = "loss_backward_kernel",
                 .grid = dim3(gpu::blocks_for(size, threads), unsigned(x.shape.n)),
                 .block = threads},
                write == Write::accumulate ? loss_backward_kernel<Write::accumulate>
                                           : loss_backward_kernel<Write::overwrite>,
                kind, mean, image_mse, size, x.data, x.shape.image_stride, target.data,
                target.shape.image_stride, d_x.data, d_x.shape.image_stride);
}

}  // namespace tvmap::cuda
