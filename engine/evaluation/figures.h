// Figures: false colours, panels, and curves drawn by gnuplot.
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

/// Pictures of one height side by side with white gaps of `gap` pixels; colour if any of them is.
Picture panel(const std::vector<Picture>& pictures, int gap = 4);

/// Runs gnuplot on a script in `folder` (the script names its input and output files relative to it). False,
/// and no harm done, where gnuplot is not installed. Throws Error with gnuplot's first line of complaint if
/// the script fails.
bool run_gnuplot(const std::string& script, const std::string& folder);

/// A figure: gnuplot's commands, which read files of the folder that it is drawn in, and its size in pixels.
struct Figure {
    std::string name;
    int width = 0, height = 0;
    std::string commands;
};

/// Draws NAME.svg and NAME.png of each figure in `folder`, each whole or not at all. Never throws Error: the
/// numbers that figures show stand without them. Returns one line that names the files that are missing and the
/// reason for the first of them, "" if there are none.
std::string draw_figures(const std::string& folder, const std::vector<Figure>& figures);

}  // namespace tvmap
