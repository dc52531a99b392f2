// Channel by channel the order of the floats stays and a thread converts a quad. Channels last is a transpose
// of every image, C×(H·W) to (H·W)×C, in tiles of 32 channels and 32 pixels through shared memory, so that
// neighbouring threads touch neighbouring pixels on one side and neighbouring channels on the other.
#include "kernels/layers/bfloat16.h"

#include "kernels/base/shapes.h"
#include "kernels/gpu/planar.h"

namespace tvmap::cuda {
namespace {

constexpr int tile = 32, tile_rows = int(planar_threads) / tile;
constexpr int tile_pitch = tile + 1;  // of a row in shared memory, so that columns lie in different banks

__device__ inline std::uint16_t rounded(float v) {
    const std::uint32_t bits = __float_as_uint(v);
    if (v != v) return std::uint16_t(bits >> 16 | 0x40u);  // quiet, lest a NaN's upper half be infinity
    return std::uint16_t((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

__device__ inline float widened(std::uint16_t v) { return __uint_as_float(std::uint32_t(v) << 16); }

template <bool wide>
__global__ void to_bfloat16_kernel(Images<const float> x, std::uint16_t* dense, std::int64_t size) {
    const QuadPlace place(size);
    if (place.count == 0) return;
    const Quad q = load_quad<wide>(x[blockIdx.y] + place.at, place.count);
    std::uint16_t* out = dense + blockIdx.y * size + place.at;
    if constexpr (wide) {
        // The lower address has the lower half.
        *reinterpret_cast<uint2*>(out) = make_uint2(rounded(q.v[0]) | std::uint32_t(rounded(q.v[1])) << 16,
                                                    rounded(q.v[2]) | std::uint32_t(rounded(q.v[3])) << 16);
    } else {
        for (int k = 0; k < place.count; ++k) out[k] = rounded(q.v[k]);
    }
}

template <bool wide>
__global__ void from_bfloat16_kernel(const std::uint16_t* dense, Images<float> y, std::int64_t size,
                                     bool accumulate) {
    const QuadPlace place(size);
    if (place.count == 0) return;
    const std::uint16_t* in = dense + blockIdx.y * size + place.at;
    Quad q = {};
    if constexpr (wide) {
        const uint2 pairs = *reinterpret_cast<const uint2*>(in);
        q = {{widened(std::uint16_t(pairs.x)), widened(std::uint16_t(pairs.x >> 16)),
              widened(std::uint16_t(pairs.y)), widened(std::uint16_t(pairs.y >> 16))}};
    } else {
        for (int k = 0; k < place.count; ++k) q.v[k] = widened(in[k]);
    }
    float* out = y[blockIdx.y] + place.at;
    if (accumulate) {
        const Quad old = load_quad<wide>(out, place.count);
        for (int k = 0; k < 4; ++k) q.v[k] += old.v[k];
    }
    store_quad<wide>(out, q, place.count);
}

/// blockIdx: tile of pixels, tile of channels, image; threadIdx: 32 × 8, so four rows of the tile to a
/// thread.
__global__ void to_bfloat16_channels_last_kernel(Images<const float> x, std::uint16_t* dense, int channels,
                                                 int pixels) {
    float* values = gpu::shared_memory<float>();
    const int first_pixel = int(blockIdx.x) * tile, first_channel = int(blockIdx.y) * tile;
    const int column = int(threadIdx.x);
    for (int k = 0; k < tile; k += tile_rows) {
        const int row = k + int(threadIdx.y);
        const int channel = first_channel + row, pixel = first_pixel + column;
        if (channel < channels && pixel < pixels)
            values[row * tile_pitch + column] = x[blockIdx.z][std::int64_t(channel) * pixels + pixel];
    }
    __syncthreads();
    std::uint16_t* image = dense + std::int64_t(blockIdx.z) * pixels * channels;
    for (int k = 0; k < tile; k += tile_rows) {
        const int row = k + int(threadIdx.y);
        const int channel = first_channel + column, pixel = first_pixel + row;
        if (channel < channels && pixel < pixels)
            image[std::int64_t(pixel) * channels + channel] = rounded(values[column * tile_pitch + row]);
    }
}

__global__ void from_bfloat16_channels_last_kernel(const std::uint16_t* dense, Images<float> y, int channels,
                                                   int pixels, bool accumulate) {
    float* values = gpu::shared_memory<float>();
    const int first_pixel = int(blockIdx.x) * tile, first_channel = int(blockIdx.y) * tile;
    const int column = int(threadIdx.x);
    const std::uint16_t* image = dense + std::int64_t(blockIdx.z) * pixels * channels;
    for (int k = 0; k < tile; k += tile_rows) {
        const int row = k + int(threadIdx.y);
        const int channel = first_channel + column, pixel = first_pixel + row;
        if (channel < channels && pixel < pixels)
            values[row * tile_pitch + column] = widened(image[std::int64_t(pixel) * channels + channel]);
    }
    __syncthreads();
    for (int k = 0; k < tile; k += tile_rows) {
        const int row = k + int(threadIdx.y);
        const int channel = first_channel + row, pixel = first_pixel + column;
        if (channel >= channels || pixel >= pixels) continue;
        float* out = y[blockIdx.z] + std::int64_t(channel) * pixels + pixel;
        const float v = values[column * tile_pitch + row];
        *out = accumulate ? v + *out : v;
    }
}

gpu::Launch tile_launch(const char* name, const Features& shape) {
    return {.name = name,
            .grid = dim3(gpu::blocks_for(std::int64_t(shape.h) * shape.w, tile),
                         gpu::blocks_for(shape.c, tile), unsigned(shape.n)),
            .block = dim3(tile, tile_rows),
            .shared_bytes = sizeof(float) * tile * tile_pitch};
}

/// Whether images of `size` numbers in dense memory start where four of them can be accessed at once.
bool wide_dense(const void* dense, std::int64_t size) {
    return reinterpret_cast<std::uintptr_t>(dense) % (4 * sizeof(std::uint16_t)) == 0 && size % 4 == 0;
}

}  // namespace

void to_bfloat16(gpu::Stream stream, ConstView x, std::uint16_t* dense_out, bool channels_last) {
    const Features& shape = x.shape;
    require_planar("to_bfloat16", shape);
    const std::int64_t size = shape.image_size();
    if (channels_last && shape.c > 1) {
        gpu::launch(stream, tile_launch("to_bfloat16_channels_last_kernel", shape),
                    to_bfloat16_channels_last_kernel, x, dense_out, shape.c, shape.h * shape.w);
        return;
    }
    const bool wide = wide_access(4, size, x) && wide_dense(dense_out, size);
    gpu::launch(stream, quad_launch("to_bfloat16_kernel", size, shape.n),
                wide ? to_bfloat16_kernel<true> : to_bfloat16_kernel<false>, x, dense_out, size);
}

void from_bfloat16(gpu::Stream stream, const std::uint16_t* dense_in, bool channels_last, View y,
                   Write write) {
    const Features& shape = y.shape;
    require_planar("from_bfloat16", shape);
    const bool accumulate = write == Write::accumulate;
    const std::int64_t size = shape.image_size();
    if (channels_last && shape.c > 1) {
        gpu::launch(stream, tile_launch("from_bfloat16_channels_last_kernel", shape),
                    from_bfloat16_channels_last_kernel, dense_in, y, shape.c, shape.h * shape.w, accumulate);
        return;
    }
    const bool wide = wide_access(4, size, y) && wide_dense(dense_in, size);
    gpu::launch(stream, quad_launch("from_bfloat16_kernel", size, shape.n),
                wide ? from_bfloat16_kernel<true> : from_bfloat16_kernel<false>, dense_in, y, size,
                accumulate);
}

}  // namespace tvmap::cuda
