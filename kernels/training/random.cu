// noisy = clean + scale·n, one thread for the four values of a Philox block.
#include "kernels/training/random.h"

#include "kernels/gpu/gpu.h"
#include "kernels/training/normal_noise.h"

namespace tvmap::cuda {
namespace {

__global__ void add_noise_kernel(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image,
                                 std::int64_t count, const float* clean, float scale, float* noisy) {
    const std::int64_t index = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x, first = 4 * index;
    if (first >= count) return;
    const float4 n = normal_noise(seed, epoch, image, index);
    noisy[first] = __fmaf_rn(scale, n.x, clean[first]);
    if (first + 1 < count) noisy[first + 1] = __fmaf_rn(scale, n.y, clean[first + 1]);
    if (first + 2 < count) noisy[first + 2] = __fmaf_rn(scale, n.z, clean[first + 2]);
    if (first + 3 < count) noisy[first + 3] = __fmaf_rn(scale, n.w, clean[first + 3]);
}

}  // namespace

void add_noise(gpu::Stream stream, std::uint64_t seed, std::uint32_t epoch, std::uint32_t image,
               std::int64_t count, const float* clean, float scale, float* noisy) {
    require_noise_count(count);
    if (count == 0) return;
    constexpr unsigned threads = 256;
    gpu::launch(
        stream,
        {.name = "add_noise_kernel", .grid = gpu::blocks_for((count + 3) / 4, threads), .block = threads},
        add_noise_kernel, seed, epoch, image, count, clean, scale, noisy);
}

}  // namespace tvmap::cuda
