// Leaky ReLU:  y = x where x > 0, slope·x elsewhere.  Its derivative is read off the output's sign (slope >
// 0).
#pragma once
#include "kernels/base/features.h"
#include "kernels/base/kernel.h"
#include "kernels/base/stream.h"

namespace tvmap {
namespace cpu {

/// y may be x.
void leaky_relu_forward(ConstView x, View y, float slope);

/// d_x = d_y where y > 0, slope·d_y elsewhere. d_x may be d_y (in place, Write::overwrite); the image strides
/// may differ.
void leaky_relu_backward(ConstView y, ConstView d_y, View d_x, float slope, Write write);

/// sum = a + b elementwise; sum may be a or b. Used where a value has several consumers.
void add(ConstView a, ConstView b, View sum);

}  // namespace cpu

namespace cuda {

/// The same bits as the CPU's.
void leaky_relu_forward(gpu::Stream stream, ConstView x, View y, float slope);
void leaky_relu_backward(gpu::Stream stream, ConstView y, ConstView d_y, View d_x, float slope, Write write);
void add(gpu::Stream stream, ConstView a, ConstView b, View sum);

}  // namespace cuda

inline constexpr Kernel leaky_relu_forward{"leaky_relu_forward", cpu::leaky_relu_forward};
inline constexpr Kernel leaky_relu_backward{"leaky_relu_backward", cpu::leaky_relu_backward};
inline constexpr Kernel add_forward{"add_forward", cpu::add};

}  // namespace tvmap
