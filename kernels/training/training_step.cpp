// The CPU's side of a recorded training step.
#include "kernels/training/training_step.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/base/shapes.h"
#include "kernels/threads/parallel.h"
#include "kernels/training/random.h"
#include "kernels/training/square.h"

namespace tvmap::cpu {
namespace {

/// The number of the step that is next.
std::uint32_t next_step(const Schedule& schedule) {
    const std::uint32_t step = *schedule.counter;
    if (step >= std::uint32_t(schedule.steps))
        fail("training step: the schedule's ", schedule.steps, " steps are done; start another stretch");
    return step;
}

}  // namespace

void make_batch(std::uint64_t seed, const TrainingImages& images, const Schedule& schedule, View target,
                View noisy) {
    const int side = target.shape.h;
    const Features square = dense_features(schedule.batch, 1, side, side, 1);
    require_shape("make_batch", "target", target.shape, square);
    require_shape("make_batch", "noisy", noisy.shape, square);
    const BatchItem* items = schedule.items + std::int64_t(next_step(schedule)) * schedule.batch;
    for (int n = 0; n < schedule.batch; ++n) {
        const BatchItem& item = items[n];
        if (item.image >= std::uint32_t(images.count) || std::min(item.top, item.left) < 0 ||
            std::max(item.top, item.left) > images.size - side)
            fail("make_batch: a square of ", side, " at (", item.top, ", ", item.left, ") of image ",
                 item.image, " reaches beyond ", images.count, " images of ", images.size, "×", images.size,
                 "; choose one inside");
        const float* image = images.data + std::int64_t(item.image) * images.size * images.size;
        parallel_for(side, std::int64_t(2) * side * side, [&](std::int64_t i) {
            copy_row(
                image + std::int64_t(item.top) * images.size + item.left, images.size, side, int(i),
                item.mirror != 0, item.quarters, [](float sample) { return sample; },
                target.image(n) + i * side);
        });
        add_noise(seed, item.epoch, item.image, std::int64_t(side) * side, target.image(n), item.scale,
                  noisy.image(n));
    }
}

void finish_step(const Schedule& schedule, const double* loss) {
    schedule.losses[next_step(schedule)] = *loss;
    ++*schedule.counter;
}

}  // namespace tvmap::cpu
