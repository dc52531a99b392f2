// Linear upsampling by 2 with aligned corners: output row i lies at the input row s = i·(H−1)/(2H−1),
// likewise columns,
//     y[n,c,i,j] = bilinear interpolation of x at (s_i, s_j)            (H = 1: the row is repeated)
// The backward pass is the transpose, gathered per input pixel, so that its sums have a fixed order.
#pragma once
#include "kernels/base/kernel.h"
#include "kernels/base/shapes.h"
#include "kernels/base/stream.h"

namespace tvmap {

/// The shape of y, dense.
inline Features upsample_shape(const Features& x) {
    return dense_features(x.n, x.c, 2 * x.h, 2 * x.w, x.block, x.element);
}

namespace cpu {

/// x: N×C×H×W, y: N×C×2H×2W, same block; y may be a channel slice. Overwrites y.
void upsample_forward(ConstView x, View y);

/// d_y: N×C×2H×2W, d_x: N×C×H×W.
void upsample_backward(ConstView d_y, View d_x, Write write);

}  // namespace cpu

namespace cuda {

/// Each equals the CPU's but for the rounding of sums.
void upsample_forward(gpu::Stream stream, ConstView x, View y);
void upsample_backward(gpu::Stream stream, ConstView d_y, View d_x, Write write);

}  // namespace cuda

inline constexpr Kernel upsample_forward{"upsample_forward", cpu::upsample_forward};
inline constexpr Kernel upsample_backward{"upsample_backward", cpu::upsample_backward};

}  // namespace tvmap
