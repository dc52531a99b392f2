// What an evaluation leaves behind: tables, figures and pictures.
#pragma once
#include <string>
#include <vector>

#include "engine/evaluation/evaluator.h"
#include "engine/figures/gnuplot.h"
#include "engine/files/outputs.h"
#include "engine/pictures/image.h"

namespace tvmap {

/// What values of Λ count as where they are less.
inline constexpr float least_lambda = 1e-8f;

/// log₁₀ of values of Λ, of which those that are less than least_lambda, and NaN, count as that.
std::vector<float> logarithms(const float* lambda, std::size_t count);

/// One plane of Λ in false colours on a logarithmic scale, from its 1st to its 99th percentile: Λ spans
/// decades, and a few outliers should not set the colours.
Picture map_picture(const float* lambda, int height, int width);

/// All that write_example writes for the first `pictures` of these images, and write_evaluation's tables. (Figures are
/// not among them: that one cannot be drawn is no failure.)
std::vector<Output> evaluation_outputs(const std::string& folder, const std::vector<std::string>& names,
                                       int pictures, int maps);

/// The images of per_image.csv in a folder of an evaluation, with six digits of each number, and without curves. Throws
/// Error.
std::vector<EvaluatedImage> read_evaluated_images(const std::string& folder);

/// per_image.csv (every image), summary.csv, summary.txt, provenance.csv (name,value), the figures that
/// engine/evaluation/evaluation_figures.h names with their CSV files (curves.csv: means over the images that count,
/// by λ), then `examples`. Returns what draw_figures says. Where lambdas are empty, as those of an evaluation that is
/// put together from others, there are no curves.
std::string write_evaluation(const std::string& folder, const Evaluation& evaluation,
                             const std::vector<Figure>& examples = {});

}  // namespace tvmap
