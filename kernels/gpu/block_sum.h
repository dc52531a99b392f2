// Sums by the threads of a block, for kernels whose blocks are whole warps along x.
#pragma once
#include "kernels/gpu/gpu.h"

namespace tvmap::gpu {

/// Σ value over the block's threads, in an order that depends on the block's size alone; at thread 0 (others
/// get 0). All threads call it. `room` is shared memory for one double per warp that nobody has touched since
/// the last barrier; no other sum may use it before the next.
__device__ inline double block_sum(double value, double* room) {
    constexpr unsigned all = 0xffffffffu, lanes = 32;
    for (unsigned distance = lanes / 2; distance > 0; distance /= 2)
        value += __shfl_down_sync(all, value, distance);
    if (threadIdx.x % lanes == 0) room[threadIdx.x / lanes] = value;
    __syncthreads();
    double sum = 0;
    if (threadIdx.x == 0)
        for (unsigned warp = 0; warp < blockDim.x / lanes; ++warp) sum += room[warp];
    return sum;
}

/// Σ of a plane in double, in the order of a CPU that adds along every row, then the rows; at thread 0 (others get 0).
/// All threads of a block along x call it. rows: one double per row that nobody else uses, in global memory.
__device__ inline double plane_sum(const float* plane, int height, int width, double* rows) {
    for (int i = threadIdx.x; i < height; i += blockDim.x) {
        double sum = 0;
        for (int j = 0; j < width; ++j) sum += plane[std::int64_t(i) * width + j];
        rows[i] = sum;
    }
    __syncthreads();
    double sum = 0;
    if (threadIdx.x == 0)
        for (int i = 0; i < height; ++i) sum += rows[i];
    return sum;
}

}  // namespace tvmap::gpu
