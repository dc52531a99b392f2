// The elementwise product of two tensors of the same shape:
//     y = a∘b        d_a = b∘d_y, d_b = a∘d_y
// Each may be a slice of channels.
#pragma once
#include "kernels/base/features.h"
#include "kernels/base/kernel.h"

namespace outside {

namespace cpu {
/// y = a∘b, or added to what is there.
void multiply(tvmap::ConstView a, tvmap::ConstView b, tvmap::View y, tvmap::Write write);
}  // namespace cpu

inline constexpr tvmap::Kernel multiply{"multiply", cpu::multiply};

}  // namespace outside
