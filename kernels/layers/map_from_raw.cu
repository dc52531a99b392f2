// Elementwise over the floats of each image. With E = exp(−|r|), which never overflows:
//     softplus(r) = max(r, 0) + log(1 + E)                  softplus′(r) = sigmoid(r)
//     sigmoid(r)  = 1/(1+E) where r ≥ 0, E/(1+E) elsewhere  sigmoid′(r)  = E/(1+E)²
#include "kernels/layers/map_from_raw.h"

#include <cmath>

#include "kernels/gpu/planar.h"
#include "kernels/layers/blas1.h"

namespace tvmap::cuda {
namespace {

__device__ inline float sigmoid(float r) {
    const float e = expf(-fabsf(r));
    return (r < 0.0f ? e : 1.0f) / (1.0f + e);
}

__device__ inline float sigmoid_slope(float r) {
    const float e = expf(-fabsf(r)), sum = 1.0f + e;
    return e / (sum * sum);
}

__device__ inline float softplus(float r) { return (r > 0.0f ? r : 0.0f) + log1pf(expf(-fabsf(r))); }

template <bool wide>
__global__ void map_from_raw_forward_kernel(MapFromRaw map, Images<const float> raw, Images<float> lambda,
                                            std::int64_t size) {
    const unsigned n = blockIdx.y;
    const auto formula = [=](float r) {
        return map.up_bound > 0.0f ? map.up_bound * sigmoid(r) : map.scale * softplus(r);
    };
    write_quad<wide>(size, false, lambda[n], formula, raw[n]);
}

template <bool wide>
__global__ void map_from_raw_backward_kernel(MapFromRaw map, Images<const float> raw,
                                             Images<const float> d_lambda, Images<float> d_raw,
                                             std::int64_t size, bool accumulate) {
    const unsigned n = blockIdx.y;
    const auto formula = [=](float r, float g) {
        return g * (map.up_bound > 0.0f ? map.up_bound * sigmoid_slope(r) : map.scale * sigmoid(r));
    };
    write_quad<wide>(size, accumulate, d_raw[n], formula, raw[n], d_lambda[n]);
}

}  // namespace

void map_from_raw_forward(gpu::Stream stream, const MapFromRaw& map, ConstView raw, View lambda) {
    check_map_from_raw("map_from_raw", raw.shape, lambda.shape);
    const std::int64_t size = lambda.shape.image_size();
    gpu::launch(stream, quad_launch("map_from_raw_forward_kernel", size, raw.shape.n),
                wide_access(4, size, raw, lambda) ? map_from_raw_forward_kernel<true>
                                                  : map_from_raw_forward_kernel<false>,
                map, raw, lambda, size);
}

void map_from_raw_backward(gpu::Stream stream, const MapFromRaw& map, ConstView raw, ConstView d_lambda,
                           View d_raw, Write write) {
    check_map_from_raw("map_from_raw backward", raw.shape, d_lambda.shape);
    require_shape("map_from_raw backward", "d_raw", d_raw.shape, raw.shape);
    const std::int64_t size = d_lambda.shape.image_size();
    gpu::launch(stream, quad_launch("map_from_raw_backward_kernel", size, raw.shape.n),
                wide_access(4, size, raw, d_lambda, d_raw) ? map_from_raw_backward_kernel<true>
                                                           : map_from_raw_backward_kernel<false>,
                map, raw, d_lambda, d_raw, size, write == Write::accumulate);
    View unused{d_raw.data + size, d_raw.shape};
    unused.shape.c -= d_lambda.shape.c;
    if (write == Write::overwrite && unused.shape.c > 0) fill(stream, unused, 0.0f);
}

}  // namespace tvmap::cuda
