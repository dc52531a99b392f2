// The quality of a picture against the clean one, in the measures of the published tables.
#pragma once
#include "kernels/metrics.h"

namespace tvmap {

struct Quality {
    double psnr = 0, ssim = 0,
           ssim_uniform = 0;  ///< ssim: 11×11 Gaussian; ssim_uniform: 7×7 (see kernels/metrics.h)
};

/// image and clean: H×W.
inline Quality quality(const float* image, const float* clean, int height, int width) {
    return {cpu::psnr(image, clean, std::int64_t(height) * width),
            cpu::ssim_gaussian(image, clean, height, width), cpu::ssim_uniform(image, clean, height, width)};
}

}  // namespace tvmap
