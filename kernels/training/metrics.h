// Image quality against the truth, data range 1, in double.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/base/stream.h"

namespace tvmap {

/// PSNR and both SSIMs of one image, as the functions below define them.
struct ImageQuality {
    double psnr = 0, ssim = 0, ssim_uniform = 0;  ///< ssim: Gaussian window
};

/// `count` images of H×W, and what they should be: image i belongs to truth i / images_per_truth.
struct ComparedImages {
    const float* images = nullptr;
    const float* truths = nullptr;
    int count = 1, images_per_truth = 1;
    int height = 0, width = 0;
};

namespace cpu {

/// Peak signal-to-noise ratio in dB, 10·log10(1 / MSE), over `count` values. Infinite where both agree.
double psnr(const float* image, const float* truth, std::int64_t count);

/// SSIM (Wang et al., 2004), K1 = 0.01, K2 = 0.03, 7×7 uniform window, sample covariance (N−1), mean over the
/// places where the window fits (scikit-image's default). H, W ≥ 7, else NaN.
double ssim_uniform(const float* image, const float* truth, int height, int width);

/// SSIM with an 11×11 Gaussian window of standard deviation 1.5, population covariance, a border of 5 pixels
/// excluded (scikit-image with gaussian_weights, use_sample_covariance = False). H, W ≥ 11, else NaN.
double ssim_gaussian(const float* image, const float* truth, int height, int width);

/// All three for each image.
void image_quality(const ComparedImages& images, ImageQuality* quality);

}  // namespace cpu
namespace cuda {

/// Bytes that image_quality needs for its partial sums.
std::size_t image_quality_workspace_bytes(const ComparedImages& images);

/// All three for each image, like the CPU's, to some 1e-14. `workspace` is aligned to 8 bytes.
void image_quality(gpu::Stream stream, const ComparedImages& images, ImageQuality* quality, void* workspace);

}  // namespace cuda
}  // namespace tvmap
