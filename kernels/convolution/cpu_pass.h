// One direction of a convolution on the CPU by one algorithm: oneDNN's, "winograd4" (kernels/winograd/winograd.h) or
// "amx_tiles" (kernels/amx/tile_convolution.h). What an algorithm leaves out, the activation or its gradient, is done
// here, so that all compute the same.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <variant>

#include "kernels/amx/tile_convolution.h"
#include "kernels/convolution/onednn_pass.h"
#include "kernels/winograd/winograd.h"

namespace tvmap::cpu {

inline constexpr char winograd_name[] = "winograd4", tiles_name[] = "amx_tiles";

/// A planned pass, for one thread at a time. Workspaces are aligned to 64 bytes.
class CpuPass {
  public:
    /// Empty where this algorithm cannot be had.
    static std::optional<CpuPass> make(const ConvolutionProblem& problem, onednn::Direction direction,
                                       const onednn::Algorithm& algorithm);

    const onednn::Algorithm& algorithm() const { return algorithm_; }
    std::size_t workspace_bytes() const;
    /// Whether d_a has to be dense.
    bool wants_dense_d_a() const;

    /// y, overwritten: bias and activation included.
    void forward(const float* x, const float* weight, const float* bias, float* y, void* workspace);
    /// From y and d_y: d_a, which may be d_y or has its own image stride, d_weight and d_bias.
    void weights(const float* x, const float* y, const float* d_y, View d_a, float* d_weight, float* d_bias,
                 Write write, void* workspace);
    void data(ConstView d_a, const float* weight, float* d_x, Write write, void* workspace);

  private:
    CpuPass(const ConvolutionProblem& problem, onednn::Direction direction, onednn::Algorithm algorithm,
            std::variant<onednn::Pass, Winograd, TileConvolution> way)
        : problem_(problem), direction_(direction), algorithm_(std::move(algorithm)), way_(std::move(way)) {}

    ConvolutionProblem problem_;
    onednn::Direction direction_;
    onednn::Algorithm algorithm_;
    std::variant<onednn::Pass, Winograd, TileConvolution> way_;
};

}  // namespace tvmap::cpu
