// A sum over the values of an image, in double and in an order that depends on the image's size alone: the image is cut
// into 8 parts of equal length, a part is summed by one block, thread t taking values t, t + 256, …; then the block's
// threads (kernels/gpu/block_sum.h), then the parts in order. The parts' blocks are a cluster that adds up over shared
// memory, or, where there are no clusters or little to do, one block that takes them in turn: the same bits.
#pragma once
#include <cstdint>

#include "kernels/gpu/block_sum.h"
#include "kernels/gpu/gpu.h"

namespace tvmap::cuda {

constexpr unsigned image_sum_threads = 256, image_sum_parts = 8;

/// The shared memory of a block.
struct ImageSums {
    double part[image_sum_parts];                          // of the cluster's first block alone
    double warp[image_sum_parts][image_sum_threads / 32];  // room for block_sum
};

/// How to launch a kernel that sums over `images` images of `size` values.
inline gpu::Launch image_sum_launch(const char* name, int images, std::int64_t size) {
    constexpr std::int64_t worth_a_cluster = 8192;
    const bool clusters = size >= worth_a_cluster && gpu::device().largest_cluster >= int(image_sum_parts);
    const unsigned cluster = clusters ? image_sum_parts : 1;
    return {.name = name,
            .grid = unsigned(images) * cluster,
            .block = image_sum_threads,
            .cluster = cluster,
            .shared_bytes = sizeof(ImageSums)};
}

/// done(Σ term(i) for i < size), called by one thread, where all threads of the `cluster` blocks (as the launch has
/// them) of an image call this, once in a kernel. Image n has the blocks from n·cluster on.
template <class Term, class Done>
__device__ inline void image_sum(std::int64_t size, unsigned cluster, const Term& term, const Done& done) {
    const unsigned rank = blockIdx.x % cluster;
    ImageSums& own = *gpu::shared_memory<ImageSums>();
    double* sums = own.part;
    if (cluster > 1) {
        gpu::cluster_barrier();  // the first block's shared memory exists once that block runs
        sums = gpu::cluster_shared(own.part, 0);
    }
    const std::int64_t length = (size + image_sum_parts - 1) / image_sum_parts;
    for (unsigned part = rank; part < image_sum_parts; part += cluster) {
        const std::int64_t begin = part * length, end = begin + length < size ? begin + length : size;
        double sum = 0;
#pragma unroll 8
        for (std::int64_t i = begin + threadIdx.x; i < end; i += image_sum_threads) sum += term(i);
        sum = gpu::block_sum(sum, own.warp[part]);
        if (threadIdx.x == 0) sums[part] = sum;
    }
    if (cluster > 1) gpu::cluster_barrier();
    if (rank == 0 && threadIdx.x == 0) {
        double total = 0;
        for (const double sum : own.part) total += sum;
        done(total);
    }
}

}  // namespace tvmap::cuda
