// The figures of a test set, each with the CSV files that it is drawn from.
#pragma once
#include <string>
#include <vector>

#include "engine/evaluation/evaluator.h"
#include "engine/figures/gnuplot.h"

namespace tvmap {

/// Those that there is something to show in; means, quartiles and counts are of the images that count, and of each
/// figure only the measures that have values:
///     curves       mean PSNR and SSIM over λ, the optimum marked, the levels of the best λ of each image and of the map;
///                  curves.csv
///     boxes        box plots of PSNR and SSIM by method; boxes.csv, and outliers.csv beyond the whiskers
///     differences  histograms of map − scalar over the images, with how many are won; differences.csv
///     gain         map − scalar of each image over its σ, where σ differs; gain.csv
std::vector<Drawing> evaluation_drawings(const Evaluation& evaluation);

/// The names of all of them.
const std::vector<std::string>& evaluation_figure_names();

}  // namespace tvmap
