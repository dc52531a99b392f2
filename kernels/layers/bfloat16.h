// Between float and bfloat16, the upper half of a float's bits: same exponents, 8 significant bits.
//     to:    round to nearest, ties to even; a NaN stays one
//     from:  exact
// The narrow side is dense, in the order N, C, H, W or, channels last, N, H, W, C.
#pragma once
#include <cstdint>

#include "kernels/base/features.h"
#include "kernels/base/stream.h"

namespace tvmap::cuda {

/// x: N×C×H×W planar, maybe a slice. dense_out: N·C·H·W numbers, aligned to 2 bytes (8 is faster).
void to_bfloat16(gpu::Stream stream, ConstView x, std::uint16_t* dense_out, bool channels_last);

/// y: N×C×H×W planar, maybe a slice. dense_in: N·C·H·W numbers, aligned to 2 bytes (8 is faster).
void from_bfloat16(gpu::Stream stream, const std::uint16_t* dense_in, bool channels_last, View y,
                   Write write);

}  // namespace tvmap::cuda
