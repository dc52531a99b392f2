// Private to kernels/convolution*.cu.
#pragma once
#include <memory>

#include "kernels/convolution/convolution.h"

namespace tvmap::cuda {

/// A 1×1 convolution as matrix products. Its algorithms() is "matrix_product".
std::unique_ptr<Convolution> pointwise_convolution(gpu::Stream stream, Precision precision,
                                                   const ConvolutionProblem& problem);

}  // namespace tvmap::cuda
