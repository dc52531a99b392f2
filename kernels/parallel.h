// Loops over OpenMP's threads. A thread gets one contiguous range; work too small to pay for waking the
// others stays on the calling thread. What a body computes must not depend on who runs it.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/features.h"

namespace tvmap::cpu {

/// Below so many floats of traffic a loop stays on one thread: at 20 GB/s they take what waking a thread
/// takes.
inline constexpr std::int64_t serial_floats = 32768;

/// body(i) for i in [0, count); `floats` is the traffic of the whole loop.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t floats, const Body& body) {
    if (floats < serial_floats) {
        for (std::int64_t i = 0; i < count; ++i) body(i);
        return;
    }
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < count; ++i) body(i);
}

/// Elementwise work: body(n, offset, length) over pieces that cover the floats of every image once. The
/// pieces depend on the shape alone.
template <class Body>
void parallel_pieces(const Features& shape, const Body& body) {
    constexpr std::int64_t length = 4096;
    const std::int64_t size = shape.image_size(), pieces = (size + length - 1) / length;
    parallel_for(shape.n * pieces, shape.n * size, [&](std::int64_t i) {
        const std::int64_t offset = i % pieces * length;
        body(int(i / pieces), offset, std::min(length, size - offset));
    });
}

}  // namespace tvmap::cpu
