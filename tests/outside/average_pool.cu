// A thread to a pixel of y forward, of x backward.
#include "tests/outside/average_pool.h"

#include "kernels/base/shapes.h"
#include "kernels/gpu/planar.h"

namespace outside::cuda {
namespace {

using namespace tvmap;
using tvmap::cuda::Images, tvmap::cuda::Planes, tvmap::cuda::PlanePlace, tvmap::cuda::plane_launch;

__global__ void average_pool_forward_kernel(Planes planes, int height, int width, Images<const float> x,
                                            Images<float> y) {
    const PlanePlace place(planes);
    if (!place.exists) return;
    const float* upper = x[blockIdx.y] + (place.plane * height + 2 * place.row) * width + 2 * place.column;
    const float* lower = upper + width;
    y[blockIdx.y][(place.plane * planes.rows + place.row) * planes.columns + place.column] =
        0.25f * ((upper[0] + upper[1]) + (lower[0] + lower[1]));
}

__global__ void average_pool_backward_kernel(Planes planes, int height, int width, Images<const float> d_y,
                                             Images<float> d_x, bool accumulate) {
    const PlanePlace place(planes);
    if (!place.exists) return;
    const int i = place.row / 2, j = place.column / 2;
    float gradient = 0;
    if (i < height && j < width) gradient = 0.25f * d_y[blockIdx.y][(place.plane * height + i) * width + j];
    float& to = d_x[blockIdx.y][(place.plane * planes.rows + place.row) * planes.columns + place.column];
    to = accumulate ? to + gradient : gradient;
}

/// height, width: of x.
void average_pool_forward(gpu::Stream stream, ConstView x, View y) {
    const Features &in = x.shape, &out = y.shape;
    require_planar("average_pool", in);
    require_shape("average_pool", "y", out, dense_features(in.n, in.c, in.h / 2, in.w / 2, 1));
    const Planes planes{out.c, out.h, out.w};
    gpu::launch(stream, plane_launch("average_pool_forward_kernel", planes, out.n),
                average_pool_forward_kernel, planes, in.h, in.w, x, y);
}

/// height, width: of d_y.
void average_pool_backward(gpu::Stream stream, ConstView d_y, View d_x, Write write) {
    const Features &in = d_x.shape, &out = d_y.shape;
    require_planar("average_pool backward", in);
    require_shape("average_pool backward", "d_y", out, dense_features(in.n, in.c, in.h / 2, in.w / 2, 1));
    const Planes planes{in.c, in.h, in.w};
    gpu::launch(stream, plane_launch("average_pool_backward_kernel", planes, in.n),
                average_pool_backward_kernel, planes, out.h, out.w, d_y, d_x, write == Write::accumulate);
}

const CudaVersion versions[] = {{outside::average_pool_forward, average_pool_forward},
                                {outside::average_pool_backward, average_pool_backward}};

}  // namespace
}  // namespace outside::cuda
