// Two-dimensional convolution (cross-correlation), stride 1, zero padding that keeps H×W, bias, and an
// optional leaky ReLU:
//     a[n,o,i,j] = bias[o] + Σ_c Σ_u Σ_v weight[o,c,u,v]·x[n,c,i+u−k/2,j+v−k/2]        y = leaky_relu(a)
// Weights are out×in×k×k, plain C order, k = 1 or 3; they and the bias, and their gradients, are floats always. The CPU
// side stands on oneDNN and on kernels of our own (Winograd, AMX tiles, the network's first and last layer), the CUDA
// side on cuDNN and cuBLAS; several algorithms (direct, Winograd, plain matrix products, …) and ways of batching are
// timed when the object is made, and the fastest is kept.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "kernels/base/convolution_problem.h"
#include "kernels/base/features.h"
#include "kernels/base/stream.h"

namespace tvmap {

/// What a backward pass reads and writes. Places of the problem's x and y, whichever element they are of.
struct ConvolutionBackward {
    const float* x = nullptr;
    const float* weight = nullptr;
    const float* y = nullptr;  ///< as forward left it
    float* d_y = nullptr;      ///< y's shape and strides; destroyed
    float* d_x = nullptr;      ///< null: not wanted; else x's shape and strides
    Write d_x_write = Write::overwrite;
    float* d_weight = nullptr;
    float* d_bias = nullptr;
    Write parameter_write = Write::overwrite;  ///< of d_weight and d_bias
};

/// A planned convolution. Nothing is allocated by us in forward() and backward(); all scratch memory is
/// `workspace`. The results depend on the algorithms and the number of threads alone. That number is fixed
/// when the object is made: a call under another one throws. For one thread at a time.
class Convolution {
  public:
    virtual ~Convolution() = default;

    /// Scratch memory that forward() and backward() need, aligned to 64 bytes.
    virtual std::size_t forward_workspace_bytes() const = 0;
    virtual std::size_t backward_workspace_bytes() const = 0;

    /// Overwrites y. weight: Cout·Cin·k·k floats, bias: Cout floats.
    virtual void forward(const float* x, const float* weight, const float* bias, float* y,
                         void* workspace) = 0;

    virtual void backward(const ConvolutionBackward& b, void* workspace) = 0;

    /// The algorithms in use, e.g. "forward=winograd,data=direct,weights=direct"; accepted by
    /// make_convolution.
    virtual std::string algorithms() const = 0;
};

namespace cpu {

/// Keeps oneDNN, too, to cpu::instruction_set(). Throws Error after its first use, when it is too late.
void limit_onednn();

/// Channels per block for a tensor of C channels on this CPU: 16 (AVX-512) or 8 where C is a multiple of it,
/// else 1.
int channel_block(int channels);

/// What this processor multiplies bf16 by, "amx_bf16" or "avx512_bf16", as far as oneDNN may use it; "" if by nothing.
std::string bf16_instructions();
/// Throws Error, which says what is missing, where there are none.
void require_bf16();

/// Plans a convolution. `algorithms` empty: candidates are timed and the fastest deterministic ones taken;
/// else what an earlier algorithms() answered, taken without timing. Throws Error with the shapes when
/// nothing can compute it.
///
/// Where x or y is bf16, products MAY be made of bf16: an algorithm may round x, the weights and d_a to it before it
/// multiplies, or take them as they are stored (Winograd and the first and last layer's kernels multiply floats).
/// Sums are floats always, weights and their gradients too; a result in bf16 is rounded when it is stored, and by
/// oneDNN's algorithms also before it is added to what is there. Needs bf16_instructions().
std::unique_ptr<Convolution> make_convolution(const ConvolutionProblem& problem,
                                              const std::string& algorithms);

}  // namespace cpu

namespace cuda {

/// What products are made of; sums are always fp32, and so is every tensor in memory.
///     fp32  floats as they are, on no tensor core
///     tf32  floats rounded to 10 bits of mantissa
///     bf16  floats rounded to 7 bits of mantissa, results too: 3×3 convolutions whose channels are multiples
///           of 8; the others, which memory bounds, are computed in tf32
enum class Precision { fp32, tf32, bf16 };

/// "fp32", "tf32", "bf16".
const char* precision_name(Precision precision);
/// Throws Error for anything but those.
Precision parse_precision(const std::string& name);

/// Plans a convolution on `stream`, as cpu::make_convolution does: timing waits for the stream and takes
/// memory for a while, what is returned queues into it. Tensors are planar, d_y is destroyed. Where H·W is a
/// multiple of 4, x, y and their gradients are aligned to 16 bytes (whole channels from an aligned base are).
/// Only deterministic algorithms are taken: the results depend on algorithms(), the device and the libraries'
/// versions alone.
std::unique_ptr<Convolution> make_convolution(gpu::Stream stream, Precision precision,
                                              const ConvolutionProblem& problem,
                                              const std::string& algorithms);

}  // namespace cuda
}  // namespace tvmap
