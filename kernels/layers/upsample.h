// Linear upsampling by 2 with aligned corners: output row i lies at the input row s = i·(H−1)/(2H−1),
// likewise columns,
//     y[n,c,i,j] = bilinear interpolation of x at (s_i, s_j)            (H = 1: the row is repeated)
// The backward pass is the transpose, gathered per input pixel, so that its sums have a fixed order.
// A window is a piece of a larger image, the whole: its rows r … r+h−1 of H, columns likewise. Where an output row
// lies depends on H, so the upsampled window is not the window of the upsampled whole unless it is told r and H:
//     y[n,c,i,j] = bilinear interpolation of the whole at (s_{2r+i}, s_{2r'+j})
// The outermost rows of y lie between a row of x and one that the window does not hold, in whose place x's is taken:
// they are the whole's only where that ends too. Columns likewise.
#pragma once
#include "kernels/base/kernel.h"
#include "kernels/base/shapes.h"
#include "kernels/base/stream.h"

namespace tvmap {

/// The shape of y, dense.
inline Features upsample_shape(const Features& x) {
    return dense_features(x.n, x.c, 2 * x.h, 2 * x.w, x.block, x.element);
}

/// The shape of the windows of N images, planar: N×4×1×1, each the first row, the first column, and the rows and
/// columns of the whole.
inline Features window_shape(int n) { return dense_features(n, 4, 1, 1, 1); }

namespace cpu {

/// x: N×C×H×W, y: N×C×2H×2W, same block; y may be a channel slice. Overwrites y.
void upsample_forward(ConstView x, View y);

/// The same where x holds windows. They may be given in the units of another level: x has them times `scale`, which
/// makes whole numbers of them.
void upsample_window_forward(ConstView x, ConstView window, float scale, View y);

/// d_y: N×C×2H×2W, d_x: N×C×H×W.
void upsample_backward(ConstView d_y, View d_x, Write write);

}  // namespace cpu

namespace cuda {

/// Each equals the CPU's but for the rounding of sums.
void upsample_forward(gpu::Stream stream, ConstView x, View y);
void upsample_window_forward(gpu::Stream stream, ConstView x, ConstView window, float scale, View y);
void upsample_backward(gpu::Stream stream, ConstView d_y, View d_x, Write write);

}  // namespace cuda

inline constexpr Kernel upsample_forward{"upsample_forward", cpu::upsample_forward};
inline constexpr Kernel upsample_window_forward{"upsample_window_forward", cpu::upsample_window_forward};
inline constexpr Kernel upsample_backward{"upsample_backward", cpu::upsample_backward};

}  // namespace tvmap
