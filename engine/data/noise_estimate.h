// How much noise an image seems to have, where nobody knows.
#pragma once
#include "engine/config/config.h"

namespace tvmap {

/// Whether an image that was observed so shows its noise: missing pixels, and blocks of equal ones, would be taken for it.
bool shows_noise(const ObservationConfig& observation);

/// The standard deviation of white Gaussian noise in an H×W image (Immerkær, Fast Noise Variance Estimation, Computer
/// Vision and Image Understanding 64, 1996):
///     √(π/2) / (6 (H − 2)(W − 2)) · Σ |N ∗ image|   over the interior,   N = (1 −2 1; −2 4 −2; 1 −2 1),
/// the difference of two Laplacians, which is blind to planes and edges along the axes. Texture counts as noise, so weak
/// noise is overestimated. NaN where a side is below 3. (Networks that work at the scale of the noise have an estimate of
/// their own on every backend: kernels/layers/noise_level.h.)
double estimate_noise(const float* image, int height, int width);

}  // namespace tvmap
