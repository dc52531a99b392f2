// Matrix products on cuBLAS. It knows column-major matrices alone, in which a row-major one is its transpose:
//     C = A·B   as   Cᵀ = Bᵀ·Aᵀ        columns×rows = columns×inner · inner×rows
#include <cublas_v2.h>

#include "kernels/base/error.h"
#include "kernels/convolution/convolution_passes.h"
#include "kernels/cuda/vendor_libraries.h"

namespace tvmap::cuda {

// Enough for cuBLAS to cut long sums in parts, which it then adds up in an order of its own making, but
// always the same.
std::size_t matrix_product_workspace_bytes() { return std::size_t(8) << 20; }

void multiply(gpu::Stream stream, const MatrixProduct& p, const float* a, const float* b, float* c,
              void* workspace) {
    const bool exact = p.precision == Precision::fp32;
    const cublasComputeType_t compute = exact ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F_FAST_TF32;
    const float one = 1.0f, beta = p.adds ? 1.0f : 0.0f;
    const std::lock_guard lock(handles_mutex());
    const cublasHandle_t handle = cublas_handle();
    // The mode first: the environment (NVIDIA_TF32_OVERRIDE and the like) must not choose it.
    check(cublas().set_math_mode(handle, exact ? CUBLAS_PEDANTIC_MATH : CUBLAS_TF32_TENSOR_OP_MATH),
          "mode of arithmetic");
    check(cublas().set_stream(handle, static_cast<cudaStream_t>(stream.handle)), "stream");
    check(cublas().set_workspace(handle, workspace, matrix_product_workspace_bytes()), "workspace");
    check(cublas().gemm_strided_batched(
              handle, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
              p.columns, p.rows, p.inner, &one, b, CUDA_R_32F, p.b_row, p.b_stride, a, CUDA_R_32F, p.a_row,
              p.a_stride, &beta, c, CUDA_R_32F, p.c_row, p.c_stride, p.count, compute, CUBLAS_GEMM_DEFAULT),
          text("product ", p.rows, "x", p.inner, " · ", p.inner, "x", p.columns, ", ", p.count, " times, ",
               precision_name(p.precision)));
}

}  // namespace tvmap::cuda
