// One pass over the values: each thread looks at several, a grid's width apart, and only what is found is written.
#include "kernels/training/finite.h"

#include "kernels/gpu/gpu.h"

namespace tvmap::cuda {
namespace {

constexpr unsigned threads = 256;

__global__ void find_not_finite_kernel(const float* x, std::int64_t count, std::uint32_t* found) {
    constexpr unsigned exponent = 0x7f800000;  // all ones: infinite or NaN
    const std::int64_t stride = std::int64_t(gridDim.x) * threads;
    bool any = false;
    for (std::int64_t i = std::int64_t(blockIdx.x) * threads + threadIdx.x; i < count; i += stride)
        any |= (__float_as_uint(x[i]) & exponent) == exponent;
    if (any) atomicOr(found, 1u);
}

}  // namespace

void find_not_finite(gpu::Stream stream, const float* x, std::int64_t count, std::uint32_t* found) {
    if (count == 0) return;
    constexpr std::int64_t per_thread = 8;
    const unsigned grid = gpu::blocks_for((count + per_thread - 1) / per_thread, threads);
    gpu::launch(stream, {.name = "find_not_finite_kernel", .grid = grid, .block = threads},
                find_not_finite_kernel, x, count, found);
}

}  // namespace tvmap::cuda
