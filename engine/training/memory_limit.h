// The largest batch that fits a limit on memory: train.memory_limit against the predicted peak.
#pragma once
#include <cstddef>
#include <functional>
#include <string>

#include "engine/config/config.h"
#include "engine/data/dataset.h"
#include "engine/graph/algorithms.h"
#include "kernels/backend.h"

namespace tvmap {

struct LargestBatch {
    int batch = 0;              ///< 0: not even one image fits
    std::size_t predicted = 0;  ///< bytes of that batch
    std::size_t next = 0;       ///< and of one image more, which does not fit; 0: more are not allowed

    /// "the largest batch that fits is 3, with … bytes; 4 would take …"
    std::string describe() const;
};

/// The largest batch up to `most` for which predicted(batch) ≤ limit, while predicted(batch + 1) is above it.
/// The search starts at `first`, and takes few steps where the bytes grow by about the same with each image.
LargestBatch largest_batch(std::size_t limit, int first, int most,
                           const std::function<std::size_t(int batch)>& predicted);

/// That of a training run with so many images, by plans that allocate nothing, searched from the configured
/// batch. `primitives`: what planning leaves behind, which does not depend on the batch.
LargestBatch largest_batch(Backend& backend, Config config, Algorithms& algorithms, ImageCounts images,
                           std::size_t primitives);

}  // namespace tvmap
