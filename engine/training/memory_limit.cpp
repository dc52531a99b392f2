#include "engine/training/memory_limit.h"

#include <algorithm>
#include <cmath>

#include "engine/training/training_plan.h"
#include "kernels/base/error.h"

namespace tvmap {

std::string LargestBatch::describe() const {
    const std::string fits =
        batch ? text("the largest batch that fits is ", batch, ", with ", predicted, " bytes") : "none fits";
    return fits + (next ? text("; ", batch + 1, " would take ", next) : ", and no more images are allowed");
}

// The secant method on a bracket, whose lower end fits and whose upper end does not; should it not come to
// its end soon, the bracket is halved.
LargestBatch largest_batch(std::size_t limit, int first, int most,
                           const std::function<std::size_t(int)>& predicted) {
    constexpr int patience = 8;
    LargestBatch largest;
    int exceeding = most + 1;
    int batch = std::clamp(first, 1, std::max(most, 1)), previous = 0;
    std::size_t previous_bytes = 0;
    for (int probes = 1; largest.batch + 1 < exceeding; ++probes) {
        const std::size_t bytes = predicted(batch);
        if (bytes <= limit) {
            largest.batch = batch;
            largest.predicted = bytes;
        } else {
            exceeding = batch;
            largest.next = bytes;
        }
        const double slope = (double(bytes) - double(previous_bytes)) / (batch - previous);
        double guess = batch + std::floor((double(limit) - double(bytes)) / slope);
        if (slope <= 0 || probes > patience) guess = std::floor((double(largest.batch) + exceeding) / 2);
        previous = batch;
        previous_bytes = bytes;
        batch = int(std::clamp(guess, largest.batch + 1.0, std::max(exceeding - 1.0, largest.batch + 1.0)));
    }
    return largest;
}

LargestBatch largest_batch(Backend& backend, Config config, Algorithms& algorithms, ImageCounts images,
                           std::size_t primitives) {
    const auto predicted = [&](int batch) {
        config.train.batch = batch;
        MemoryReport memory = TrainingPlan(backend, config, algorithms, images).memory;
        memory["primitives"].predicted = primitives;
        return memory.predicted();
    };
    const int most = images.train / config.train.accumulate;  // a step takes so many batches
    return largest_batch(config.train.memory_limit, config.train.batch, most, predicted);
}

}  // namespace tvmap
