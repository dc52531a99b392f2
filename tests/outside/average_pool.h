// Average pooling, window 2×2, stride 2, no padding (an odd last row or column is dropped).
//     y[n,c,i,j] = ¼ Σ x[n,c,2i+a,2j+b] over a,b in {0,1}
//     d_x[n,c,2i+a,2j+b] = ¼ d_y[n,c,i,j], zero in a row or column that is dropped
// x: N×C×H×W, y: N×C×⌊H/2⌋×⌊W/2⌋, same block; either may be a slice of channels.
#pragma once
#include "kernels/base/features.h"
#include "kernels/base/kernel.h"

namespace outside {

namespace cpu {
void average_pool_forward(tvmap::ConstView x, tvmap::View y);
void average_pool_backward(tvmap::ConstView d_y, tvmap::View d_x, tvmap::Write write);
}  // namespace cpu

inline constexpr tvmap::Kernel average_pool_forward{"average_pool_forward", cpu::average_pool_forward};
inline constexpr tvmap::Kernel average_pool_backward{"average_pool_backward", cpu::average_pool_backward};

}  // namespace outside
