// The standard deviation of an image's noise, and images times or over one number each: what a network needs that is
// to see noise of standard deviation 1 whatever there was (engine/model/unet.h).
//
// The estimate is Immerkær's (Fast noise variance estimation, Computer Vision and Image Understanding 64, 1996): the
// mask
//      1 −2  1
//     −2  4 −2      has the variance 36σ² on white noise and is zero on planes, so that over the pixels with all
//      1 −2  1      eight neighbours      σ̂ = √(π/2)/6 · mean |mask ∗ z| .
// Texture raises it, most where there is little noise.
#pragma once
#include "kernels/base/features.h"
#include "kernels/base/host_device.h"
#include "kernels/base/kernel.h"
#include "kernels/base/shapes.h"
#include "kernels/base/stream.h"

namespace tvmap {

/// No estimate is lower, so that one can divide by it: an image without noise or of less than 3×3 pixels has this.
inline constexpr float least_noise_level = 1e-4f;

/// σ̂ from Σ |mask ∗ z| over the inner pixels.
TVMAP_HOST_DEVICE constexpr float noise_level_from(double sum, std::int64_t inner_pixels) {
    constexpr double factor = 1.2533141373155003 / 6;  // √(π/2)/6
    const float level = inner_pixels > 0 ? float(factor * sum / double(inner_pixels)) : 0.0f;
    return level < least_noise_level ? least_noise_level : level;
}

/// |mask ∗ z| at the middle of three rows, of which `above` and `below` are the neighbours.
TVMAP_HOST_DEVICE constexpr float noise_response(const float* above, const float* row, const float* below,
                                                 std::int64_t j) {
    const float corners = (above[j - 1] + above[j + 1]) + (below[j - 1] + below[j + 1]);
    const float sides = (above[j] + below[j]) + (row[j - 1] + row[j + 1]);
    const float response = (corners - 2.0f * sides) + 4.0f * row[j];
    return response < 0.0f ? -response : response;
}

enum class Scaling { multiply, divide };

/// Throws Error unless z is N×1×H×W and level N×1×1×1, both dense.
inline void check_noise_level(const Features& z, const Features& level) {
    require_shape("noise level", "z", z, dense_features(z.n, 1, z.h, z.w, 1));
    require_shape("noise level", "level", level, dense_features(z.n, 1, 1, 1, 1));
}

/// Throws Error unless x and y have one planar shape and there is a factor for each image.
inline void check_scaled(const Features& x, const Features& factor, const Features& y) {
    require_shape("scaled", "y", y, x);
    require_shape("scaled", "factor", factor, dense_features(x.n, 1, 1, 1, 1));
    if (x.block != 1) fail("scaled: x is ", shape_text(x), ", it must be planar (blocks of 1)");
}

namespace cpu {

/// level[n] = σ̂ of image n. z: N×1×H×W, level: N×1×1×1. Sums are taken in double, row by row: the same bits for any
/// number of threads.
void noise_level_forward(ConstView z, View level);

/// y = x·factor or x/factor, image by image. factor: N×1×1×1. Its own adjoint, in x.
void scale_images(Scaling scaling, ConstView x, ConstView factor, View y, Write write);

}  // namespace cpu

namespace cuda {

/// Differs from the CPU's by the order of the sum.
void noise_level_forward(gpu::Stream stream, ConstView z, View level);

/// The same bits as the CPU's.
void scale_images(gpu::Stream stream, Scaling scaling, ConstView x, ConstView factor, View y, Write write);

}  // namespace cuda

inline constexpr Kernel noise_level_forward{"noise_level_forward", cpu::noise_level_forward};
inline constexpr Kernel scale_images{"scale_images", cpu::scale_images};

}  // namespace tvmap
