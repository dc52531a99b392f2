// Numbers as colours: one map for pictures and for gnuplot, and the ticks of its scale bars.
#pragma once
#include <string>
#include <vector>

#include "engine/pictures/image.h"

namespace tvmap {

/// H×W values as an RGB picture: `from` dark, `to` bright, a perceptually even colour map; values outside are
/// clamped.
Picture false_colour(const float* values, int height, int width, float from, float to);

/// H×W grey values, clamped when written.
Picture grey_picture(const float* values, int height, int width);

/// The same colour map as gnuplot's command "set palette …", with a line end.
std::string palette_command();

/// What a colour scale runs between.
struct Span {
    double from = 0, to = 0;
};

/// From the 1st to the 99th percentile of values (NaN left out), so that a few outliers do not set the colours; never
/// empty: where it would be, it reaches a little above. Values below `least` count as that.
Span middle_span(std::vector<float> values, float least);

/// Ticks of a linear scale: multiples of 1, 2 or 5 times a power of ten within the span, two to five of them.
std::vector<double> linear_ticks(const Span& span);

/// Ticks of a logarithmic scale, of a positive span: the powers of ten within it where these are three or more, else also
/// multiples of them, two digits long at most; none nearer to the one before than a sixth of the scale. Where none of
/// this gives two, both ends.
std::vector<double> logarithmic_ticks(const Span& span);

}  // namespace tvmap
