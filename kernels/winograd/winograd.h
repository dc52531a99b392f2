// 3×3 convolutions by Winograd's minimal filtering in tiles of 4×4, F(4×4, 3×3): a quarter of the multiplications.
// For tensors in blocks of 8 or 16 channels, of any height and width. In single precision the results are some
// 1e-6 off (‖·‖₂ relative to double), where sums over the same numbers in order are 3e-7 off. Tensors of bf16 are
// widened as they are loaded and rounded as they are stored; all between is in single precision.
// Private to kernels/convolution/.
#pragma once
#include <cstddef>

#include "kernels/base/convolution_problem.h"

namespace tvmap::cpu {

/// The passes of one convolution. Results are the same bits for any number of threads; that, and the instruction
/// set, is fixed when the object is made, for the workspaces. For one thread at a time.
class Winograd {
  public:
    /// k = 3, both tensors blocked, and vectors on this processor.
    static bool applies(const ConvolutionProblem& problem);

    /// Throws Error where it does not apply.
    explicit Winograd(const ConvolutionProblem& problem);

    /// Scratch memory of the passes, aligned to 64 bytes.
    std::size_t forward_workspace_bytes() const;
    std::size_t weights_workspace_bytes() const;
    std::size_t data_workspace_bytes() const;

    /// Overwrites y, bias and activation included.
    void forward(const float* x, const float* weight, const float* bias, float* y, void* workspace) const;

    /// d_a (which may be d_y), d_weight and d_bias from d_y: the activation's gradient is part of it.
    void weights(const float* x, const float* y, const float* d_y, View d_a, float* d_weight, float* d_bias,
                 Write write, void* workspace) const;

    /// d_x from d_a.
    void data(ConstView d_a, const float* weight, float* d_x, Write write, void* workspace) const;

  private:
    /// How a pass over tiles and channels is divided.
    struct Division {
        int inputs = 0, outputs = 0;
        bool by_channels = false;  ///< among threads: panels of channels, all tiles at once; else tiles
        int capacity = 0;          ///< tiles worked on together
        int together = 0;          ///< output channels worked on together
        std::int64_t shared_floats = 0, thread_floats = 0;
    };
    Division divide(int inputs, int outputs) const;
    void convolve(const Division& division, ConstView x, const float* weight, bool transposed,
                  const float* bias, float slope, Write write, View y, float* workspace) const;
    std::int64_t weights_thread_floats() const;
    void check() const;

    ConvolutionProblem problem_;
    int threads_, block_, width_;
    std::int64_t tiles_;
    Division forward_, data_;
    int pieces_;  ///< of the tiles, for the weights: their sums are added in order
    std::int64_t piece_tiles_;
    int capacity_;  ///< tiles between transforms
};

}  // namespace tvmap::cpu
