// What the CUDA convolutions (kernels/convolution/convolution.cu, kernels/convolution/convolution_products.cu) ask
// of the vendor's libraries: one pass of a convolution, and matrix products. Answered by cuDNN and cuBLAS in
// kernels/cuda/, by plain loops in kernels/emulation/convolution_stand_in.cpp.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base/stream.h"
#include "kernels/convolution/convolution.h"

namespace tvmap::cuda {

/// "cuDNN 9.13.0, cuBLAS 13.1"; "" where they cannot be opened.
std::string vendor_library_versions();
/// Empty where all is there; else one line that says what is missing, where it was looked for and what to do.
std::string vendor_libraries_missing();

/// The three passes of a convolution (kernels/convolution/convolution.h; the bias and the ReLU apart):
///     forward  y = x ⋆ weight        data  d_x = d_a ⋆ᵀ weight        weights  d_weight = x ⋆ᵀ d_a
enum class Direction { forward, data, weights };

/// "forward", "data", "weights".
const char* name(Direction direction);

/// One pass to be planned. fp32 and tf32: floats, planar and strided as x and y say, weights out×in×k×k.
/// bf16: bfloat16 and dense, channels last, x and y as N×H×W×C and the weights as out×k×k×in. A bias is
/// float.
struct PassProblem {
    Direction direction = Direction::forward;
    Precision precision = Precision::fp32;
    Features x, y;
    int kernel = 3;
    bool activates = false;          ///< forward: y = leaky_relu(x ⋆ weight + bias) in one
    float slope = 1;                 ///< of that
    bool adds = false;               ///< data: added to d_x
    int alignment = 16;              ///< bytes that x, y and their gradients are aligned to
    std::size_t most_workspace = 0;  ///< bytes

    /// One line that names it in full.
    std::string key() const;
};

/// A planned pass, for one thread. Weights and their gradient are aligned to 16 bytes, the workspace to 256.
class Pass {
  public:
    virtual ~Pass() = default;
    /// The algorithm, without ',' and '=': planned_pass() finds it again.
    virtual std::string algorithm() const = 0;
    /// What the library says of its arithmetic, "tensor cores, inputs converted" say.
    virtual std::string notes() const = 0;
    virtual std::size_t workspace_bytes() const = 0;
    /// Queues it. forward: x, weight, bias (null unless it activates), y. data: d_a, weight, null, d_x.
    /// weights: x, d_a, null, d_weight.
    virtual void run(gpu::Stream stream, const void* first, const void* second, const float* bias,
                     void* result, void* workspace) = 0;
};

/// The deterministic ways to compute a pass, the most promising first, at most eight; none where the library
/// offers none, then *obstacle says why.
std::vector<std::shared_ptr<Pass>> available_passes(const PassProblem& problem, std::string* obstacle);

/// The way of this name; null where the library does not offer it, then *obstacle says why. Plans are made
/// once in a process and shared.
std::shared_ptr<Pass> planned_pass(const PassProblem& problem, const std::string& algorithm,
                                   std::string* obstacle);

/// A batch of products of row-major matrices of floats, C[b] = A[b]·B[b], or added to C[b]:
///     A: rows×inner, stored inner×rows where transpose_a                            C: rows×columns
///     B: inner×columns, stored columns×inner where transpose_b
/// A row of A, B or C lies `…_row` floats after the one before, the next matrix `…_stride` floats on.
struct MatrixProduct {
    int rows = 0, columns = 0, inner = 0, count = 1;
    bool transpose_a = false, transpose_b = false;
    std::int64_t a_row = 0, b_row = 0, c_row = 0;
    std::int64_t a_stride = 0, b_stride = 0, c_stride = 0;
    bool adds = false;
    Precision precision = Precision::fp32;  ///< fp32 or tf32
};

/// Scratch memory of multiply(), aligned to 256 bytes.
std::size_t matrix_product_workspace_bytes();
/// Queues it. The same product gives the same bits each time.
void multiply(gpu::Stream stream, const MatrixProduct& product, const float* a, const float* b, float* c,
              void* workspace);

}  // namespace tvmap::cuda
