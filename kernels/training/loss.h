// Losses of a batch of images x against the truth y; MSE_n is the mean squared error of image n over its
// C·H·W values.
//     mse:      mean over n of MSE_n
//     log_mse:  mean over n of log MSE_n   (faint and strong noise weigh alike; MSE_n is floored at 1e-12,
//               and below that its gradient is zero)
// Sums are taken in double in an order that depends on the shape alone, never on the number of threads or the
// instruction set. The views need no alignment.
#pragma once
#include "kernels/base/features.h"
#include "kernels/base/kernel.h"
#include "kernels/base/stream.h"

namespace tvmap {

enum class LossKind { mse, log_mse };

/// What the logarithm takes a smaller MSE_n for.
inline constexpr double mse_floor = 1e-12;

namespace cpu {

/// Σ (x_i − y_i)² over `count` values, differences and sum in double.
double squared_error(const float* x, const float* y, std::int64_t count);

/// Returns the loss and writes MSE_n to image_mse[n] (N doubles, never null).
double loss_forward(LossKind kind, ConstView x, ConstView target, double* image_mse);

/// d_x = ∂loss/∂x. image_mse as loss_forward left it. d_x may take the place of x.
void loss_backward(LossKind kind, ConstView x, ConstView target, const double* image_mse, View d_x,
                   Write write);

}  // namespace cpu
namespace cuda {

/// Writes the loss to *loss and MSE_n to image_mse[n].
void loss_forward(gpu::Stream stream, LossKind kind, ConstView x, ConstView target, double* image_mse,
                  double* loss);

/// Given the same image_mse, the same bits as the CPU's.
void loss_backward(gpu::Stream stream, LossKind kind, ConstView x, ConstView target, const double* image_mse,
                   View d_x, Write write);

}  // namespace cuda

/// The loss is written to *loss, MSE_n to image_mse[n].
inline constexpr Kernel loss_forward{
    "loss_forward", +[](LossKind kind, ConstView x, ConstView target, double* image_mse, double* loss) {
        *loss = cpu::loss_forward(kind, x, target, image_mse);
    }};
inline constexpr Kernel loss_backward{"loss_backward", cpu::loss_backward};

}  // namespace tvmap
