// A pass of a convolution in cuDNN's words.
#pragma once
#include <cstdint>

#include "kernels/convolution/convolution_passes.h"
#include "kernels/cuda/cudnn_descriptor.h"

namespace tvmap::cuda {

/// Names of the graph's tensors, by which pointers are bound at run time.
enum Tensor : std::int64_t { x_tensor = 1, weight_tensor, y_tensor, bias_tensor, sum_tensor, biased_tensor };

/// The pass as cuDNN sees it: a convolution; for an activating one, + bias and the ReLU behind it, with the
/// tensors between them never in memory. Throws Error where cuDNN takes no such graph.
CudnnDescriptor operation_graph(const PassProblem& problem);

/// The device that plans are for where it is not the one that is here (plan_for_device), else null.
const CudnnDescriptor* described_device();

}  // namespace tvmap::cuda
