// Max pooling, window 2×2, stride 2, no padding (an odd last row or column is dropped).
//     y[n,c,i,j] = max over a,b in {0,1} of x[n,c,2i+a,2j+b]
//     d_x[n,c,2i+a,2j+b] = d_y[n,c,i,j] at the first (row by row) place of the maximum, else 0
#pragma once
#include "kernels/base/kernel.h"
#include "kernels/base/shapes.h"
#include "kernels/base/stream.h"

namespace tvmap {

/// The shape of y, dense. Throws Error where x has no whole window.
inline Features max_pool_shape(const Features& x) {
    if (x.h < 2 || x.w < 2) fail("max_pool: x is ", shape_text(x), ", a window needs 2x2 pixels");
    return dense_features(x.n, x.c, x.h / 2, x.w / 2, x.block, x.element);
}

namespace cpu {

/// x: N×C×H×W, y: N×C×⌊H/2⌋×⌊W/2⌋, same block. A NaN in the window makes y NaN.
void max_pool_forward(ConstView x, View y);

/// Finds the place of the maximum again from x. d_x has the shape of x (its image stride may differ).
void max_pool_backward(ConstView x, ConstView d_y, View d_x, Write write);

}  // namespace cpu

namespace cuda {

/// The same bits as the CPU's.
void max_pool_forward(gpu::Stream stream, ConstView x, View y);
void max_pool_backward(gpu::Stream stream, ConstView x, ConstView d_y, View d_x, Write write);

}  // namespace cuda

inline constexpr Kernel max_pool_forward{"max_pool_forward", cpu::max_pool_forward};
inline constexpr Kernel max_pool_backward{"max_pool_backward", cpu::max_pool_backward};

}  // namespace tvmap
