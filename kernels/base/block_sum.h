// A sum over the threads of a block, for kernels whose blocks are whole warps along x.
#pragma once
#include "kernels/base/gpu.h"

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

}  // namespace tvmap::gpu
