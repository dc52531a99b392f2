#include "kernels/layers/noise_level.h"

#include "kernels/gpu/image_sum.h"
#include "kernels/gpu/planar.h"

namespace tvmap::cuda {
namespace {

__global__ void noise_level_forward_kernel(Images<const float> z, int height, int width, unsigned cluster,
                                           Images<float> level) {
    const unsigned n = blockIdx.x / cluster;
    const float* image = z[n];
    const int across = width > 2 ? width - 2 : 0, down = height > 2 ? height - 2 : 0;
    const std::int64_t inner = std::int64_t(across) * down;
    image_sum(
        inner, cluster,
        [=](std::int64_t i) {
            const float* row = image + (i / across + 1) * width;
            return double(noise_response(row - width, row, row + width, i % across + 1));
        },
        [=](double sum) { *level[n] = noise_level_from(sum, inner); });
}

template <bool wide>
__global__ void scale_images_kernel(bool divide, Images<const float> x, Images<const float> factor,
                                    Images<float> y, std::int64_t size, bool accumulate) {
    const unsigned n = blockIdx.y;
    const float by = *factor[n];
    write_quad<wide>(
        size, accumulate, y[n], [=](float v) { return divide ? v / by : v * by; }, x[n]);
}

}  // namespace

void noise_level_forward(gpu::Stream stream, ConstView z, View level) {
    check_noise_level(z.shape, level.shape);
    const gpu::Launch how = image_sum_launch("noise_level_forward_kernel", z.shape.n, z.shape.image_size());
    gpu::launch(stream, how, noise_level_forward_kernel, z, z.shape.h, z.shape.w, how.cluster, level);
}

void scale_images(gpu::Stream stream, Scaling scaling, ConstView x, ConstView factor, View y, Write write) {
    check_scaled(x.shape, factor.shape, y.shape);
    const std::int64_t size = x.shape.image_size();
    gpu::launch(stream, quad_launch("scale_images_kernel", size, x.shape.n),
                wide_access(4, size, x, y) ? scale_images_kernel<true> : scale_images_kernel<false>,
                scaling == Scaling::divide, x, factor, y, size, write == Write::accumulate);
}

}  // namespace tvmap::cuda
