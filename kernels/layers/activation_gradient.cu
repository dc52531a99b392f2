// d_a = d_y·leaky_relu'(y) and d_bias = Σ d_a, in two stages.
//
// A plane is cut into pieces, one block each, that leaves its sum in the workspace. A thread sums 16 floats
// in single precision, everything above that is double: a block's threads, then, by one warp to a channel,
// the pieces of all images. Which thread takes which float does not depend on how it is loaded.
#include "kernels/layers/activation_gradient.h"

#include "kernels/base/shapes.h"
#include "kernels/gpu/planar.h"

namespace tvmap::cuda {
namespace {

constexpr unsigned everyone = 0xFFFFFFFFu;
constexpr int warp_lanes = 32, warps = int(planar_threads) / warp_lanes;
constexpr int thread_quads = 4;
constexpr std::int64_t quad_step = 4 * planar_threads;  // floats from one of a thread's quads to the next
constexpr std::int64_t piece_floats = thread_quads * quad_step;

std::int64_t plane_floats(const Features& shape) { return std::int64_t(shape.h) * shape.w; }
int pieces_of(const Features& shape) { return int(gpu::blocks_for(plane_floats(shape), piece_floats)); }

/// The sum over a warp, in all its lanes.
__device__ inline double warp_sum(double v) {
    for (int lanes = warp_lanes / 2; lanes > 0; lanes /= 2) v += __shfl_xor_sync(everyone, v, lanes);
    return v;
}

/// blockIdx: piece, channel, image. d_a.data is null where nothing is to be written. sums: N×C×pieces.
template <bool wide>
__global__ void activation_gradient_kernel(Images<const float> y, Images<const float> d_y, Images<float> d_a,
                                           std::int64_t plane, float slope, double* sums) {
    const unsigned piece = blockIdx.x, channel = blockIdx.y, image = blockIdx.z;
    const std::int64_t start = channel * plane, first = piece * piece_floats + 4 * std::int64_t(threadIdx.x);
    const auto count = [&](int k) {  // floats of the thread's quad k
        const std::int64_t rest = plane - first - k * quad_step;
        return rest >= 4 ? 4 : rest > 0 ? int(rest) : 0;
    };
    // All loads come first: d_a may be d_y, so that none would be moved up past a store.
    Quad gradients[thread_quads], outputs[thread_quads];
    for (int k = 0; k < thread_quads; ++k) {
        const std::int64_t at = start + first + k * quad_step;
        gradients[k] = count(k) > 0 ? load_quad<wide>(d_y[image] + at, count(k)) : Quad{};
        outputs[k] = count(k) > 0 ? load_quad<wide>(y[image] + at, count(k)) : Quad{};
    }
    float sum = 0.0f;
    for (int k = 0; k < thread_quads; ++k) {
        Quad& g = gradients[k];
        for (int v = 0; v < 4; ++v) {
            if (!(outputs[k].v[v] > 0.0f)) g.v[v] = slope * g.v[v];
            sum += g.v[v];
        }
        if (d_a.data && count(k) > 0)
            store_quad<wide>(d_a[image] + start + first + k * quad_step, g, count(k));
    }
    double* warp_sums = gpu::shared_memory<double>();
    const double of_warp = warp_sum(double(sum));
    if (threadIdx.x % warp_lanes == 0) warp_sums[threadIdx.x / warp_lanes] = of_warp;
    __syncthreads();
    if (threadIdx.x > 0) return;
    double total = 0;
    for (int w = 0; w < warps; ++w) total += warp_sums[w];
    sums[(std::int64_t(image) * gridDim.y + channel) * gridDim.x + piece] = total;
}

/// A warp to a channel: d_bias[c] = Σ over images and pieces of sums[n,c,piece].
__global__ void bias_gradient_kernel(const double* sums, int images, int channels, int pieces, float* d_bias,
                                     bool accumulate) {
    const int channel = int(blockIdx.x), lane = int(threadIdx.x);
    double sum = 0;
    for (int n = 0; n < images; ++n) {
        const double* of_plane = sums + (std::int64_t(n) * channels + channel) * pieces;
        for (int piece = lane; piece < pieces; piece += warp_lanes) sum += of_plane[piece];
    }
    sum = warp_sum(sum);
    if (lane == 0) d_bias[channel] = float(sum) + (accumulate ? d_bias[channel] : 0.0f);
}

/// blockIdx.y: channel, blockIdx.z: image.
template <bool wide>
__global__ void bias_activation_kernel(Images<float> y, std::int64_t plane, const float* bias, float slope) {
    float* of_plane = y[blockIdx.z] + blockIdx.y * plane;
    const float b = bias[blockIdx.y];
    const auto formula = [=](float a) {
        const float v = a + b;
        return v > 0.0f ? v : slope * v;
    };
    write_quad<wide>(plane, false, of_plane, formula, of_plane);
}

}  // namespace

std::size_t activation_gradient_workspace_bytes(const Features& shape) {
    return sizeof(double) * std::size_t(shape.n) * shape.c * pieces_of(shape);
}

void activation_gradient(gpu::Stream stream, ConstView y, ConstView d_y, View d_a, float slope, float* d_bias,
                         Write write, void* workspace) {
    const Features& shape = d_y.shape;
    require_planar("activation_gradient", shape);
    require_shape("activation_gradient", "d_a", d_a.shape, shape);
    if (slope == 1.0f) {
        y = d_y;  // anything that can be read: the factor is one on either side
        if (d_a.data == d_y.data) d_a.data = nullptr;
    } else {
        require_shape("activation_gradient", "y", y.shape, shape);
    }
    const std::int64_t plane = plane_floats(shape);
    const int pieces = pieces_of(shape);
    double* sums = static_cast<double*>(workspace);
    gpu::launch(stream,
                {.name = "activation_gradient_kernel",
                 .grid = dim3(unsigned(pieces), unsigned(shape.c), unsigned(shape.n)),
                 .block = dim3(planar_threads),
                 .shared_bytes = warps * sizeof(double)},
                wide_access(4, plane, y, d_y, d_a) ? activation_gradient_kernel<true>
                                                   : activation_gradient_kernel<false>,
                y, d_y, d_a, plane, slope, sums);
    gpu::launch(stream,
                {.name = "bias_gradient_kernel",
                 .grid = dim3(unsigned(shape.c)),
                 .block = dim3(unsigned(warp_lanes))},
                bias_gradient_kernel, sums, shape.n, shape.c, pieces, d_bias, write == Write::accumulate);
}

void bias_activation(gpu::Stream stream, View y, const float* bias, float slope) {
    require_planar("bias_activation", y.shape);
    const std::int64_t plane = plane_floats(y.shape);
    gpu::launch(stream, quad_launch("bias_activation_kernel", plane, y.shape.c, y.shape.n),
                wide_access(4, plane, y) ? bias_activation_kernel<true> : bias_activation_kernel<false>, y,
                plane, bias, slope);
}

}  // namespace tvmap::cuda
