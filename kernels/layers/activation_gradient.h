// First step of a convolution's backward pass: through the leaky ReLU, and the bias gradient on the way,
//     d_a = d_y where y > 0, slope·d_y elsewhere            d_bias[c] = Σ_n Σ_i Σ_j d_a[n,c,i,j]
// in one sweep over memory; and its counterpart, the last step of a forward pass that does not do it itself,
//     y[n,c,i,j] = leaky_relu(a[n,c,i,j] + bias[c])
#pragma once
#include <cstddef>

#include "kernels/base/features.h"
#include "kernels/base/stream.h"

namespace tvmap {
namespace cpu {

/// Scratch memory of activation_gradient for tensors of this shape, aligned to 64 bytes.
std::size_t activation_gradient_workspace_bytes(const Features& shape);

/// y, d_y, d_a: N×C×H×W in the same blocks; image strides may differ. d_a may be d_y. With slope = 1, y is
/// not read (y.data may be null) and d_a is a copy (none where d_a is d_y). All three are of d_y's element;
/// what is summed up to d_bias is not rounded to it. d_bias: C floats, written as
/// `write` says. The sums have an order of their own, the same for every number of threads and every
/// instruction set.
void activation_gradient(ConstView y, ConstView d_y, View d_a, float slope, float* d_bias, Write write,
                         void* workspace);

}  // namespace cpu

namespace cuda {

/// The contract is the CPU's; the sums have another order, which depends on the shape alone.
std::size_t activation_gradient_workspace_bytes(const Features& shape);
void activation_gradient(gpu::Stream stream, ConstView y, ConstView d_y, View d_a, float slope, float* d_bias,
                         Write write, void* workspace);

/// In place: y holds a before and leaky_relu(a + bias) after. bias: C floats. slope = 1 adds the bias alone.
void bias_activation(gpu::Stream stream, View y, const float* bias, float slope);

}  // namespace cuda
}  // namespace tvmap
