// Loops that the threads share; see LoopCrew. Work too small to pay for waking the others stays on the calling thread. What
// a body computes must not depend on who runs it.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "kernels/base/features.h"
#include "kernels/threads/loop_crew.h"

namespace tvmap::cpu {

/// Below so many floats of traffic a loop stays on one thread: at 20 GB/s they take what waking a thread
/// takes.
inline constexpr std::int64_t serial_floats = 32768;

/// body(i) for i in [0, count), by all threads.
template <class Body>
void share_out(std::int64_t count, const Body& body) {
    LoopCrew::instance().run(
        omp_get_max_threads(), count,
        [](const void* context, std::int64_t i, std::int64_t end) {
            for (; i < end; ++i) (*static_cast<const Body*>(context))(i);
        },
        &body);
}

/// body(i) for i in [0, count); `floats` is the traffic of the whole loop.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t floats, const Body& body) {
    if (floats >= serial_floats && count > 1 && omp_get_max_threads() > 1) return share_out(count, body);
    for (std::int64_t i = 0; i < count; ++i) body(i);
}

/// Elementwise work is cut into pieces of so many floats, wherever the threads' shares end.
inline constexpr std::int64_t piece_floats = 4096;
inline std::int64_t pieces_of(std::int64_t floats) { return (floats + piece_floats - 1) / piece_floats; }

/// body(offset, length) over pieces that cover `count` floats once.
template <class Body>
void parallel_pieces(std::int64_t count, std::int64_t floats, const Body& body) {
    parallel_for(pieces_of(count), floats, [&](std::int64_t i) {
        body(i * piece_floats, std::min(piece_floats, count - i * piece_floats));
    });
}

/// body(n, offset, length) over pieces that cover the floats of every image once.
template <class Body>
void parallel_pieces(const Features& shape, const Body& body) {
    const std::int64_t size = shape.image_size(), pieces = pieces_of(size);
    parallel_for(shape.n * pieces, shape.n * size, [&](std::int64_t i) {
        const std::int64_t offset = i % pieces * piece_floats;
        body(int(i / pieces), offset, std::min(piece_floats, size - offset));
    });
}

/// body(n, plane, row) over `rows` rows of every plane of every image.
template <class Body>
void parallel_rows(const Features& shape, int rows, std::int64_t floats, const Body& body) {
    const std::int64_t image_rows = std::int64_t(shape.planes()) * rows;
    parallel_for(shape.n * image_rows, floats,
                 [&](std::int64_t r) { body(int(r / image_rows), r % image_rows / rows, int(r % rows)); });
}

}  // namespace tvmap::cpu
