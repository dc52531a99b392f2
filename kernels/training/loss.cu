// Sums over an image are taken as kernels/gpu/image_sum.h has them.
#include "kernels/training/loss.h"

#include <cmath>

#include "kernels/base/shapes.h"
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

}  // namespace tvmap::cuda
