// From the network's raw output r to the map Λ > 0:
//     up_bound = 0:  Λ = scale·softplus(r),   softplus(r) = log(1 + exp r), computed without overflow
//     up_bound > 0:  Λ = up_bound·sigmoid(r)
// A shared map takes channel 0 alone; further channels of r get a zero gradient.
#pragma once
#include <algorithm>

#include "kernels/base/kernel.h"
#include "kernels/base/shapes.h"
#include "kernels/base/stream.h"

namespace tvmap {

struct MapFromRaw {
    float scale = 0.1f;
    float up_bound = 0.0f;
};

/// Throws Error unless raw and lambda (or its gradient) fit together.
inline void check_map_from_raw(const char* operation, const Features& raw, const Features& lambda) {
    require_shape(operation, "lambda", lambda,
                  dense_features(raw.n, std::min(lambda.c, raw.c), raw.h, raw.w, raw.block));
    if (raw.block != 1) fail(operation, ": raw is ", shape_text(raw), ", it must be planar (blocks of 1)");
}

namespace cpu {

/// raw: N×C×H×W planar, lambda: N×M×H×W planar with M ≤ C; channel m of lambda comes from channel m of raw.
void map_from_raw_forward(const MapFromRaw& map, ConstView raw, View lambda);

/// d_raw = d_lambda·∂Λ/∂r, zero for the channels that lambda does not have (accumulate leaves those as they
/// are).
void map_from_raw_backward(const MapFromRaw& map, ConstView raw, ConstView d_lambda, View d_raw, Write write);

}  // namespace cpu

namespace cuda {

/// Each equals the CPU's but for the rounding of exp and log.
void map_from_raw_forward(gpu::Stream stream, const MapFromRaw& map, ConstView raw, View lambda);
void map_from_raw_backward(gpu::Stream stream, const MapFromRaw& map, ConstView raw, ConstView d_lambda,
                           View d_raw, Write write);

}  // namespace cuda

inline constexpr Kernel map_from_raw_forward{"map_from_raw_forward", cpu::map_from_raw_forward};
inline constexpr Kernel map_from_raw_backward{"map_from_raw_backward", cpu::map_from_raw_backward};

}  // namespace tvmap
