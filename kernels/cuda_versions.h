// The list of the library's kernels that have CUDA versions.
#pragma once

namespace tvmap::cuda {

/// Gives the kernels of kernels/cuda_versions.cu their versions, at the first call.
void list_versions();

}  // namespace tvmap::cuda
