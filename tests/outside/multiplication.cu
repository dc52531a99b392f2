// A thread to a quad of floats, a row of blocks to an image.
#include "tests/outside/multiplication.h"

#include "kernels/base/shapes.h"
#include "kernels/gpu/planar.h"

namespace outside::cuda {
namespace {

using namespace tvmap;
using tvmap::cuda::Images, tvmap::cuda::write_quad;

template <bool wide>
__global__ void multiply_kernel(Images<const float> a, Images<const float> b, Images<float> y,
                                std::int64_t size, bool accumulate) {
    const unsigned n = blockIdx.y;
    write_quad<wide>(
        size, accumulate, y[n], [](float v, float w) { return v * w; }, a[n], b[n]);
}

void multiply(gpu::Stream stream, ConstView a, ConstView b, View y, Write write) {
    require_planar("multiply", a.shape);
    require_shape("multiply", "b", b.shape, a.shape);
    require_shape("multiply", "y", y.shape, a.shape);
    const std::int64_t size = a.shape.image_size();
    gpu::launch(stream, tvmap::cuda::quad_launch("multiply_kernel", size, a.shape.n),
                tvmap::cuda::wide_access(4, size, a, b, y) ? multiply_kernel<true> : multiply_kernel<false>,
                a, b, y, size, write == Write::accumulate);
}

const CudaVersion version{outside::multiply, multiply};

}  // namespace
}  // namespace outside::cuda
