// Sums over an image are taken as kernels/gpu/image_sum.h has them.
#include "kernels/training/loss.h"

#include <cmath>

#include "kernels/gpu/image_sum.h"

namespace tvmap::cuda {
namespace {

constexpr unsigned threads = 256;

/// image_mse[n] = Σ (x − y)² / size, by one cluster of `cluster` blocks per image.
__global__ void image_mse_kernel(const float* x, std::int64_t x_stride, const float* y, std::int64_t y_stride,
                                 std::int64_t size, unsigned cluster, double* image_mse) {
    const unsigned n = blockIdx.x / cluster;
    x += n * x_stride, y += n * y_stride;
    image_sum(
        size, cluster,
        [=](std::int64_t i) {
            const double error = double(x[i]) - double(y[i]);
            return error * error;
        },
        [=](double sum) { image_mse[n] = sum / double(size); });
}

/// image_sure[n], of images 2n and 2n + 1 of x and target; slope = 1/ε.
__global__ void image_sure_kernel(const float* x, std::int64_t x_stride, const float* target,
                                  std::int64_t target_stride, std::int64_t size, double slope,
                                  unsigned cluster, double* image_sure) {
    const unsigned n = blockIdx.x / cluster;
    x += 2 * n * x_stride, target += 2 * n * target_stride;
    image_sum(
        size, cluster,
        [=](std::int64_t i) {
            const double z = target[i], probe = target[target_stride + i];
            const double up = double(x[i]) - z, down = double(x[x_stride + i]) - z;
            return 0.5 * (up * up + down * down) + slope * probe * (up - down) - probe * probe;
        },
        [=](double sum) { image_sure[n] = sum / double(size); });
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

/// As the CPU's: factor·(x − z) + slope·v of the first image of a pair, − slope·v of the second.
template <Write write>
__global__ void sure_backward_kernel(float factor, float slope, std::int64_t size, const float* x,
                                     std::int64_t x_stride, const float* target, std::int64_t target_stride,
                                     float* d_x, std::int64_t d_x_stride) {
    const unsigned n = blockIdx.y;
    const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < size) {
        const float *const z = target + (n - n % 2) * target_stride, *const v = z + target_stride;
        const float gradient = factor * (x[n * x_stride + i] - z[i]) + (n % 2 ? -slope : slope) * v[i];
        float& to = d_x[n * d_x_stride + i];
        to = write == Write::accumulate ? to + gradient : gradient;
    }
}

}  // namespace

void loss_forward(gpu::Stream stream, LossKind kind, ConstView x, ConstView target, double* image_mse,
                  double* loss) {
    require_shape("loss", "target", target.shape, x.shape);
    const int n = x.shape.n;
    const std::int64_t size = x.shape.image_size();
    const gpu::Launch how = image_sum_launch("image_mse_kernel", n, size);
    gpu::launch(stream, how, image_mse_kernel, x.data, x.shape.image_stride, target.data,
                target.shape.image_stride, size, how.cluster, image_mse);
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

void sure_forward(gpu::Stream stream, double epsilon, ConstView x, ConstView target, double* image_sure,
                  double* loss) {
    require_pairs("SURE", x.shape, target.shape);
    const int pairs = x.shape.n / 2;
    const std::int64_t size = x.shape.image_size();
    const gpu::Launch how = image_sum_launch("image_sure_kernel", pairs, size);
    gpu::launch(stream, how, image_sure_kernel, x.data, x.shape.image_stride, target.data,
                target.shape.image_stride, size, 1 / epsilon, how.cluster, image_sure);
    gpu::launch(stream, {.name = "mean_loss_kernel", .block = 1}, mean_loss_kernel, LossKind::mse, pairs,
                image_sure, loss);
}

void sure_backward(gpu::Stream stream, double epsilon, ConstView x, ConstView target, View d_x, Write write) {
    require_pairs("SURE backward", x.shape, target.shape);
    require_shape("SURE backward", "d_x", d_x.shape, x.shape);
    const std::int64_t size = x.shape.image_size();
    const double mean = 1.0 / (double(size) * (x.shape.n / 2));
    gpu::launch(stream,
                {.name = "sure_backward_kernel",
                 .grid = dim3(gpu::blocks_for(size, threads), unsigned(x.shape.n)),
                 .block = threads},
                write == Write::accumulate ? sure_backward_kernel<Write::accumulate>
                                           : sure_backward_kernel<Write::overwrite>,
                float(mean), float(mean / epsilon), size, x.data, x.shape.image_stride, target.data,
                target.shape.image_stride, d_x.data, d_x.shape.image_stride);
}

}  // namespace tvmap::cuda
