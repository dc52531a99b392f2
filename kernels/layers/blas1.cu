// A thread to a quad of floats, a row of blocks to an image; sums as kernels/gpu/image_sum.h has them.
#include "kernels/layers/blas1.h"

#include "kernels/base/shapes.h"
#include "kernels/gpu/image_sum.h"
#include "kernels/gpu/planar.h"

namespace tvmap::cuda {
namespace {

static_assert(dot_parts == image_sum_parts && dot_sums == image_sum_threads && dot_fold == 32);

template <bool wide>
__global__ void copy_kernel(Images<const float> x, Images<float> y, std::int64_t size) {
    const unsigned n = blockIdx.y;
    write_quad<wide>(
        size, false, y[n], [](float v) { return v; }, x[n]);
}

template <bool wide>
__global__ void axpy_kernel(float a, Images<const float> x, Images<float> y, std::int64_t size) {
    const unsigned n = blockIdx.y;
    write_quad<wide>(
        size, true, y[n], [=](float v) { return a * v; }, x[n]);
}

template <bool wide>
__global__ void fill_kernel(Images<float> x, std::int64_t size, float value) {
    write_quad<wide>(size, false, x[blockIdx.y], [=] { return value; });
}

__global__ void dot_kernel(Images<const float> x, Images<const float> y, std::int64_t size, unsigned cluster,
                           double* sums) {
    const unsigned n = blockIdx.x / cluster;
    const float *a = x[n], *b = y[n];
    image_sum(
        size, cluster, [=](std::int64_t i) { return double(a[i]) * double(b[i]); },
        [=](double sum) { sums[n] = sum; });
}

}  // namespace

void copy(gpu::Stream stream, ConstView x, View y) {
    require_planar("copy", x.shape);
    require_shape("copy", "y", y.shape, x.shape);
    const std::int64_t size = x.shape.image_size();
    gpu::launch(stream, quad_launch("copy_kernel", size, x.shape.n),
                wide_access(4, size, x, y) ? copy_kernel<true> : copy_kernel<false>, x, y, size);
}

void axpy(gpu::Stream stream, float a, ConstView x, View y) {
    require_planar("axpy", x.shape);
    require_shape("axpy", "y", y.shape, x.shape);
    const std::int64_t size = x.shape.image_size();
    gpu::launch(stream, quad_launch("axpy_kernel", size, x.shape.n),
                wide_access(4, size, x, y) ? axpy_kernel<true> : axpy_kernel<false>, a, x, y, size);
}

void dot(gpu::Stream stream, ConstView x, ConstView y, double* sums) {
    require_planar("dot", x.shape);
    require_shape("dot", "y", y.shape, x.shape);
    const std::int64_t size = x.shape.image_size();
    const gpu::Launch how = image_sum_launch("dot_kernel", x.shape.n, size);
    gpu::launch(stream, how, dot_kernel, x, y, size, how.cluster, sums);
}

void fill(gpu::Stream stream, View x, float value) {
    require_planar("fill", x.shape);
    const std::int64_t size = x.shape.image_size();
    gpu::launch(stream, quad_launch("fill_kernel", size, x.shape.n),
                wide_access(4, size, x) ? fill_kernel<true> : fill_kernel<false>, x, size, value);
}

}  // namespace tvmap::cuda
