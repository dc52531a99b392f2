// 3×3 and 1×1 convolutions by products of tiles of bf16: factors are rounded to bf16, sums are floats. For tensors of
// bf16 in blocks of 16 channels, of any height and width. Private to kernels/convolution/.
#pragma once
#include <cstddef>

#include "kernels/amx/tile_kernels.h"
#include "kernels/base/convolution_problem.h"

namespace tvmap::cpu {
namespace amx {

/// Whether this process may use the processor's tiles: it multiplies bf16 by AMX, the operating system lets us, and
/// the kernels are not kept to fewer instructions (kernels/base/simd.h).
bool has_tiles();

/// `rounds` times four products that never leave the tile registers; returns their multiplications and additions. For
/// measurements. Needs has_tiles().
double multiply_tiles(std::int64_t rounds);

}  // namespace amx

/// The passes of one convolution. Results are the same bits for any number of threads; that is fixed when the object is
/// made, for the workspaces. For one thread at a time.
class TileConvolution {
  public:
    /// Both tensors of bf16 in blocks of 16.
    static bool applies(const ConvolutionProblem& problem);

    /// Where it applies. By the processor's tiles where it has them (amx::has_tiles()), else by plain loops, some hundred
    /// times slower.
    explicit TileConvolution(const ConvolutionProblem& problem);
    /// `plain`: by plain loops in any case.
    TileConvolution(const ConvolutionProblem& problem, bool plain);

    /// Into how many pieces the weights' pass divides the rows.
    int pieces() const { return pieces_; }
    /// Whether the passes for y and for d_x are divided by groups of their channels, not by rows.
    bool forward_by_outputs() const { return forward_.by_outputs; }

    /// Scratch memory of the passes, aligned to 64 bytes.
    std::size_t forward_workspace_bytes() const;
    std::size_t weights_workspace_bytes() const;
    std::size_t data_workspace_bytes() const;

    /// Overwrites y, bias and activation included.
    void forward(const float* x, const float* weight, const float* bias, float* y, void* workspace) const;

    /// d_weight from d_a, the gradient before the activation.
    void weights(const float* x, ConstView d_a, float* d_weight, Write write, void* workspace) const;

    /// d_x from d_a. A sum is rounded once, with what it is added to.
    void data(ConstView d_a, const float* weight, float* d_x, Write write, void* workspace) const;

  private:
    /// How y or d_x is divided into tasks: by rows, or, where their groups of channels are two for each thread and
    /// all packed rows fit the second cache, by those.
    struct Division {
        int inputs = 0, outputs = 0;
        bool by_outputs = false;
        std::int64_t task_rows = 0;       ///< of a task
        std::int64_t source_numbers = 0;  ///< of one group of inputs in its rows
        std::int64_t shared_numbers = 0, thread_numbers = 0;
    };
    struct PackedRows;
    Division divide(int inputs, int outputs) const;
    void convolve(const Division& division, ConstView x, const amx::WeightPacking& weights, const float* bias,
                  float slope, Write write, View y, void* workspace) const;
    std::size_t bytes(const Division& division) const;

    Features x_, y_;
    float slope_;
    int threads_;
    bool plain_;
    amx::Plane plane_;
    Division forward_, data_;
    int pieces_ = 1;               ///< of the rows, for the weights: their sums are added in order
    std::int64_t piece_rows_ = 0;  ///< of each but the last
};

}  // namespace tvmap::cpu
