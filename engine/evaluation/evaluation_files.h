// What an evaluation leaves behind: tables, curves and pictures.
#pragma once
#include <string>
#include <vector>

#include "engine/evaluation/evaluator.h"
#include "engine/files/outputs.h"
#include "engine/pictures/image.h"

namespace tvmap {

/// The pictures of one test image, height×width each; lambda has `maps` planes.
struct ExamplePictures {
    const float *clean, *noisy, *scalar, *map, *lambda;
};

/// One plane of Λ in false colours on a logarithmic scale, from its 1st to its 99th percentile: Λ spans
/// decades, and a few outliers should not set the colours.
Picture map_picture(const float* lambda, int height, int width);

/// images/NAME_{clean,noisy,scalar,map,lambda}.png and NAME_panel.png; Λ in false colours, on a logarithmic
/// scale.
void write_example(const std::string& folder, const EvaluatedImage& image, const ExamplePictures& pictures,
                   int height, int width, int maps);

/// Throws Error where one of an example's pictures would be too large.
void check_example_size(const std::string& folder, int height, int width, int maps);

/// All that write_example writes for the first `pictures` of these images, and write_evaluation's tables.
std::vector<Output> evaluation_outputs(const std::string& folder, const std::vector<std::string>& names,
                                       int pictures, int maps);

/// per_image.csv (every image), curves.csv (means over the images that count, by λ), summary.csv, summary.txt,
/// then curves.svg and curves.png. Returns what draw_figures says of these.
std::string write_evaluation(const std::string& folder, const Evaluation& evaluation);

}  // namespace tvmap
