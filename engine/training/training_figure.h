// How a training went, as a figure.
#pragma once
#include <string>

namespace tvmap {

/// Draws the figure `training` in `folder`: loss and validation PSNR over the epochs, the best one marked. From
/// training.csv, which it writes there: the rows of the metrics.csv of `run`. Nothing where that holds none. Returns what
/// draw_figures says. Throws Error.
std::string draw_training(const std::string& run, const std::string& folder);

}  // namespace tvmap
