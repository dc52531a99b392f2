// Arithmetic of whole vectors, level 1 of BLAS: copies, sums and inner products of N×C×H×W tensors, elementwise over
// the floats of each image (so blocks of channels play no part, where both have the same). Image strides may differ;
// views need no alignment. A product and a sum round apart. Tensors of bf16 can be filled, on the CPU, and no more.
//
// The inner product of an image is summed in double, in an order that depends on the image's size alone: the image is
// cut into 8 parts of equal length; value i of a part is added to sum i mod 256; of those, each 32 in a row are folded
// in halves, and the eight that are left added in order, then the parts. (Products of two floats are exact in double.)
// So results are the same bits for any number of threads, any instruction set, and on CUDA.
#pragma once
#include "kernels/base/features.h"
#include "kernels/base/stream.h"

namespace tvmap {

/// The order of an image's sum.
inline constexpr int dot_parts = 8, dot_sums = 256, dot_fold = 32;

namespace cpu {

/// y = x. They do not overlap.
void copy(ConstView x, View y);

/// y = y + a·x. x may be y.
void axpy(float a, ConstView x, View y);

/// sums[n] = Σ x·y over image n, N doubles. x may be y.
void dot(ConstView x, ConstView y, double* sums);

/// x = value everywhere.
void fill(View x, float value);

}  // namespace cpu

namespace cuda {

/// The same bits as the CPU's.
void copy(gpu::Stream stream, ConstView x, View y);
void axpy(gpu::Stream stream, float a, ConstView x, View y);
void dot(gpu::Stream stream, ConstView x, ConstView y, double* sums);
void fill(gpu::Stream stream, View x, float value);

}  // namespace cuda
}  // namespace tvmap
