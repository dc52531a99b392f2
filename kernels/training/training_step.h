// What a training step reads besides the weights, kept in the backend's memory, so that a step recorded once
// can be replayed for ever: a schedule of steps with a counter that each step moves on by one.
//     make_batch    crop, mirror and noise of the step's images, cut from the resident training set
//     adam_step     with the step's rate and bias corrections (kernels/optimiser/adam.h)
//     finish_step   notes the loss, ++counter
// All read the counter when they are carried out, not when they are queued. A batch has the same bits on
// every device.
#pragma once
#include <cstdint>

#include "kernels/base/features.h"
#include "kernels/base/stream.h"
#include "kernels/optimiser/adam.h"

namespace tvmap {

/// One image of a batch.
struct BatchItem {
    std::uint32_t image = 0;         ///< number in the training set; names the noise, too
    std::int32_t top = 0, left = 0;  ///< of the square that is cut out
    std::int32_t mirror = 0;         ///< 1: left and right exchanged
    std::int32_t quarters = 0;       ///< of a turn, counterclockwise and after that: 0 to 3
    float scale = 0;                 ///< standard deviation of the noise
    std::uint32_t epoch = 0;         ///< of the noise
};

/// A stretch of steps in the backend's memory; of their batches, where an optimiser step takes several.
struct Schedule {
    int steps = 0, batch = 0;
    std::uint32_t* counter = nullptr;  ///< the step that is next, 0 … steps − 1
    const AdamStep* adam = nullptr;    ///< by step
    const BatchItem* items = nullptr;  ///< steps × batch
    double* losses = nullptr;          ///< by step
};

/// Square images in the backend's memory: count×size×size.
struct TrainingImages {
    const float* data = nullptr;
    int count = 0, size = 0;
};

namespace cpu {

/// The batch of the step that the schedule's counter names. target and noisy: N×1×S×S planar, S ≤
/// images.size; target is a square of each image, mirrored and turned as its item says, noisy is add_noise
/// (kernels/training/random.h) of it.
void make_batch(std::uint64_t seed, const TrainingImages& images, const Schedule& schedule, View target,
                View noisy);

/// losses[counter] = *loss; ++counter.
void finish_step(const Schedule& schedule, const double* loss);

}  // namespace cpu
namespace cuda {

/// As on the CPU; but what the schedule says is taken on trust, since it is read on the device: the counter
/// below `steps`, every image and square within the training set.
void make_batch(gpu::Stream stream, std::uint64_t seed, const TrainingImages& images,
                const Schedule& schedule, View target, View noisy);
void finish_step(gpu::Stream stream, const Schedule& schedule, const double* loss);

/// Adam with the factors of the schedule's next step.
inline void adam_step(gpu::Stream stream, const Schedule& schedule, std::int64_t count, float* w,
                      const float* gradient, float* m, float* v) {
    adam_step(stream, schedule.adam, schedule.counter, count, w, gradient, m, v);
}

}  // namespace cuda
}  // namespace tvmap
