// Elementwise over the floats of each image: a thread to a quad, a row of blocks to an image.
#include "kernels/layers/leaky_relu.h"

#include "kernels/base/shapes.h"
#include "kernels/gpu/planar.h"

namespace tvmap::cuda {
namespace {

template <bool wide>
__global__ void leaky_relu_forward_kernel(Images<const float> x, Images<float> y, std::int64_t size,
                                          float slope) {
    const unsigned n = blockIdx.y;
    write_quad<wide>(
        size, false, y[n], [=](float v) { return v > 0.0f ? v : slope * v; }, x[n]);
}

template <bool wide>
__global__ void leaky_relu_backward_kernel(Images<const float> y, Images<const float> d_y, Images<float> d_x,
                                           std::int64_t size, float slope, bool accumulate) {
    const unsigned n = blockIdx.y;
    const auto formula = [=](float v, float g) { return v > 0.0f ? g : slope * g; };
    write_quad<wide>(size, accumulate, d_x[n], formula, y[n], d_y[n]);
}

template <bool wide>
__global__ void add_kernel(Images<const float> a, Images<const float> b, Images<float> sum,
                           std::int64_t size) {
    const unsigned n = blockIdx.y;
    write_quad<wide>(
        size, false, sum[n], [](float v, float w) { return v + w; }, a[n], b[n]);
}

}  // namespace

void leaky_relu_forward(gpu::Stream stream, ConstView x, View y, float slope) {
    require_planar("leaky_relu", x.shape);
    require_shape("leaky_relu", "y", y.shape, x.shape);
    const std::int64_t size = x.shape.image_size();
    gpu::launch(
        stream, quad_launch("leaky_relu_forward_kernel", size, x.shape.n),
        wide_access(4, size, x, y) ? leaky_relu_forward_kernel<true> : leaky_relu_forward_kernel<false>, x, y,
        size, slope);
}

void leaky_relu_backward(gpu::Stream stream, ConstView y, ConstView d_y, View d_x, float slope, Write write) {
    require_planar("leaky_relu backward", y.shape);
    require_shape("leaky_relu backward", "d_y", d_y.shape, y.shape);
    require_shape("leaky_relu backward", "d_x", d_x.shape, y.shape);
    const std::int64_t size = y.shape.image_size();
    gpu::launch(stream, quad_launch("leaky_relu_backward_kernel", size, y.shape.n),
                wide_access(4, size, y, d_y, d_x) ? leaky_relu_backward_kernel<true>
                                                  : leaky_relu_backward_kernel<false>,
                y, d_y, d_x, size, slope, write == Write::accumulate);
}

void add(gpu::Stream stream, ConstView a, ConstView b, View sum) {
    require_planar("add", a.shape);
    require_shape("add", "b", b.shape, a.shape);
    require_shape("add", "sum", sum.shape, a.shape);
    const std::int64_t size = a.shape.image_size();
    gpu::launch(stream, quad_launch("add_kernel", size, a.shape.n),
                wide_access(4, size, a, b, sum) ? add_kernel<true> : add_kernel<false>, a, b, sum, size);
}

}  // namespace tvmap::cuda
