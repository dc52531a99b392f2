// A batch in one launch: a thread owns four neighbours of what is fed, cuts them from the training set and
// draws their noise.
#include "kernels/training/training_step.h"

#include "kernels/base/shapes.h"
#include "kernels/gpu/gpu.h"
#include "kernels/training/normal_noise.h"
#include "kernels/training/square.h"

namespace tvmap::cuda {
namespace {

constexpr unsigned threads = 256;

__global__ void make_batch_kernel(std::uint64_t seed, TrainingImages images, Schedule schedule, int side,
                                  float* target, std::int64_t target_stride, float* noisy,
                                  std::int64_t noisy_stride) {
    const unsigned n = blockIdx.y;
    const std::int64_t count = std::int64_t(side) * side,
                       index = std::int64_t(blockIdx.x) * threads + threadIdx.x, first = 4 * index;
    const BatchItem item = schedule.items[std::int64_t(*schedule.counter) * schedule.batch + n];
    const float* corner =
        images.data + (std::int64_t(item.image) * images.size + item.top) * images.size + item.left;
    const float4 normals = normal_noise(seed, item.epoch, item.image, index);
    const float normal[4] = {normals.x, normals.y, normals.z, normals.w};
    int i = int(first / side), j = int(first % side);
    for (int k = 0; k < 4 && first + k < count; ++k) {
        const Place place = place_before(i, j, side, item.mirror != 0, item.quarters);
        const float clean = corner[std::int64_t(place.row) * images.size + place.column];
        target[n * target_stride + first + k] = clean;
        noisy[n * noisy_stride + first + k] = __fmaf_rn(item.scale, normal[k], clean);
        if (++j == side) j = 0, ++i;
    }
}

/// One thread.
__global__ void finish_step_kernel(Schedule schedule, const double* loss) {
    schedule.losses[*schedule.counter] = *loss;
    ++*schedule.counter;
}

}  // namespace

void make_batch(gpu::Stream stream, std::uint64_t seed, const TrainingImages& images,
                const Schedule& schedule, View target, View noisy) {
    const int side = target.shape.h;
    const Features square = dense_features(schedule.batch, 1, side, side, 1);
    require_shape("make_batch", "target", target.shape, square);
    require_shape("make_batch", "noisy", noisy.shape, square);
    if (side > images.size)
        fail("make_batch: squares of ", side, " from images of ", images.size, "×", images.size,
             "; choose a smaller crop");
    const std::int64_t quads = (std::int64_t(side) * side + 3) / 4;
    gpu::launch(stream,
                {.name = "make_batch_kernel",
                 .grid = dim3(gpu::blocks_for(quads, threads), unsigned(schedule.batch)),
                 .block = threads},
                make_batch_kernel, seed, images, schedule, side, target.data, target.shape.image_stride,
                noisy.data, noisy.shape.image_stride);
}

void finish_step(gpu::Stream stream, const Schedule& schedule, const double* loss) {
    gpu::launch(stream, {.name = "finish_step_kernel", .block = 1}, finish_step_kernel, schedule, loss);
}

}  // namespace tvmap::cuda
