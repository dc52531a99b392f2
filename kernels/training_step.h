// What a training step reads besides the weights, kept in the backend's memory, so that a step recorded once
// can be replayed for ever: a schedule of steps with a counter that each step moves on by one.
//     make_batch    crop, mirror and noise of the step's images, cut from the resident training set
//     adam_step     with the step's rate and bias corrections
//     finish_step   notes the loss, ++counter
#pragma once
#include <cstdint>

#include "kernels/adam.h"
#include "kernels/features.h"

namespace tvmap {

/// One image of a batch.
struct BatchItem {
    std::uint32_t image = 0;         ///< number in the training set; names the noise, too
    std::int32_t top = 0, left = 0;  ///< of the square that is cut out
    std::int32_t mirror = 0;         ///< 1: left and right exchanged
    float scale = 0;                 ///< standard deviation of the noise
    std::uint32_t epoch = 0;         ///< of the noise
};

/// A stretch of steps in the backend's memory.
struct Schedule {
    int steps = 0, batch = 0;
    std::uint32_t* counter = nullptr;  ///< the step that is next, 0 … steps − 1
    const Adam* adam = nullptr;        ///< by step
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
/// images.size; target is a square of each image, mirrored or not, noisy is add_noise (kernels/random.h) of
/// it.
void make_batch(std::uint64_t seed, const TrainingImages& images, const Schedule& schedule, View target,
                View noisy);

/// losses[counter] = *loss; ++counter.
void finish_step(const Schedule& schedule, const double* loss);

}  // namespace cpu
}  // namespace tvmap
