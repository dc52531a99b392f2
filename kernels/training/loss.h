// Losses of a batch of images x against the truth y; MSE_n is the mean squared error of image n over its
// C·H·W values.
//     mse:      mean over n of MSE_n
//     log_mse:  mean over n of log MSE_n   (faint and strong noise weigh alike; MSE_n is floored at 1e-12,
//               and below that its gradient is zero)
// and the estimate of MSE_n where nobody knows the truth (Stein's unbiased risk estimate, its divergence by a finite
// difference along one probe: Ramani, Blu and Unser, Monte-Carlo SURE, IEEE TIP 17, 2008). Images come in pairs,
//     x₁ = f(z + ε·v), x₂ = f(z − ε·v)     against     z, v     v = σω, ω standard normal, ε in units of σ
//     SURE_n = (½ Σ (x₁ − z)² + ½ Σ (x₂ − z)² + 1/ε · Σ v(x₁ − x₂) − Σ v²) / size        loss: mean over n of SURE_n
// for noise of standard deviation σ. Since ω is normal, its mean over noise and probe is for any ε exactly that of MSE_n on
// images whose noise is z's and εv, of σ√(1 + ε²). (The residual at z itself would have the network solved at two levels of
// noise, of which one that tells them apart makes gains that no image sees.) It may be negative. Its gradient goes to both
// images of a pair; the divergence that an adjoint gives exactly would not do here (see tests/unrolled/sure_test.cpp).
// Sums are taken in double in an order that depends on the shape alone, never on the number of threads or the
// instruction set. The views need no alignment.
#pragma once
#include "kernels/base/features.h"
#include "kernels/base/kernel.h"
#include "kernels/base/shapes.h"
#include "kernels/base/stream.h"

namespace tvmap {

enum class LossKind { mse, log_mse };

/// Throws Error unless these are pairs of images, as many of the one as of the other.
inline void require_pairs(const char* operation, const Features& x, const Features& target) {
    require_shape(operation, "target", target, x);
    if (x.n % 2 != 0) fail(operation, ": ", x.n, " images are no pairs; give an even number");
}

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

/// Returns the mean of SURE_n and writes SURE_n to image_sure[n]. x and target are planar: N pairs, 2N images.
double sure_forward(double epsilon, ConstView x, ConstView target, double* image_sure);

/// d_x = ∂loss/∂x. d_x may take the place of x.
void sure_backward(double epsilon, ConstView x, ConstView target, View d_x, Write write);

}  // namespace cpu
namespace cuda {

/// Writes the loss to *loss and MSE_n to image_mse[n].
void loss_forward(gpu::Stream stream, LossKind kind, ConstView x, ConstView target, double* image_mse,
                  double* loss);

/// Given the same image_mse, the same bits as the CPU's.
void loss_backward(gpu::Stream stream, LossKind kind, ConstView x, ConstView target, const double* image_mse,
                   View d_x, Write write);

/// Writes the mean to *loss and SURE_n to image_sure[n].
void sure_forward(gpu::Stream stream, double epsilon, ConstView x, ConstView target, double* image_sure,
                  double* loss);

/// The same bits as the CPU's.
void sure_backward(gpu::Stream stream, double epsilon, ConstView x, ConstView target, View d_x, Write write);

}  // namespace cuda

/// The loss is written to *loss, MSE_n to image_mse[n].
inline constexpr Kernel loss_forward{
    "loss_forward", +[](LossKind kind, ConstView x, ConstView target, double* image_mse, double* loss) {
        *loss = cpu::loss_forward(kind, x, target, image_mse);
    }};
inline constexpr Kernel loss_backward{"loss_backward", cpu::loss_backward};

/// The loss is written to *loss, SURE_n to image_sure[n].
inline constexpr Kernel sure_forward{
    "sure_forward", +[](double epsilon, ConstView x, ConstView target, double* image_sure, double* loss) {
        *loss = cpu::sure_forward(epsilon, x, target, image_sure);
    }};
inline constexpr Kernel sure_backward{"sure_backward", cpu::sure_backward};

}  // namespace tvmap
