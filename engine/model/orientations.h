// The orientations in which a network sees an image anew: mirrored, upside down, and both about the diagonal. The mean of
// what it makes of them is better than one of them, and turns with the image: geometric self-ensemble (Lim et al., Enhanced
// deep residual networks for single image super-resolution, CVPR workshops 2017), here of maps: the problem that is solved
// with their mean is as convex as with one.
#pragma once
#include <vector>

#include "engine/config/config.h"

namespace tvmap {

/// How an image lies: about its diagonal, if at all; then, its rows and columns the new ones, upside down and mirrored.
struct Orientation {
    bool transposed = false, upside_down = false, mirrored = false;
};

/// 1: as it is; 4: with its mirrorings; 8: with those of the transposed image.
std::vector<Orientation> orientations(int count);

/// What a value of a plane belongs to: its pixel, where both are 0; else the step from its pixel to another, of which a
/// forward difference is taken, or, where `centred`, an axis of second differences about its pixel, whatever its sign.
struct Direction {
    int down = 0, right = 0;
    bool centred = false;
};

/// Of the planes that a network of this configuration makes: its maps', or the denoised image's.
std::vector<Direction> plane_directions(const Config& config);

/// image: H×W, turned: as many values, W×H where it is transposed.
void turn(Orientation orientation, const float* image, int height, int width, float* turned);

/// Adds to `sum` what was made of a turned image, as it belongs to the H×W image itself: each value to where the
/// difference that it weighs came from. Both have as many planes as there are directions.
void add_turned_back(Orientation orientation, const std::vector<Direction>& directions, const float* turned,
                     int height, int width, float* sum);

}  // namespace tvmap
