// Max pooling, window 2×2, stride 2, no padding (an odd last row or column is dropped).
//     y[n,c,i,j] = max over a,b in {0,1} of x[n,c,2i+a,2j+b]
//     d_x[n,c,2i+a,2j+b] = d_y[n,c,i,j] at the first (row by row) place of the maximum, else 0
#pragma once
#include "kernels/features.h"

namespace tvmap::cpu {

/// x: N×C×H×W, y: N×C×⌊H/2⌋×⌊W/2⌋, same block. A NaN in the window makes y NaN.
void max_pool_forward(ConstView x, View y);

/// Finds the place of the maximum again from x. d_x has the shape of x (its image stride may differ).
void max_pool_backward(ConstView x, ConstView d_y, View d_x, Write write);

}  // namespace tvmap::cpu
