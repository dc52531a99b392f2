// The pictures of one test image, and the figures made of them.
#pragma once
#include <string>
#include <vector>

#include "engine/evaluation/evaluator.h"
#include "engine/figures/gnuplot.h"

namespace tvmap {

/// The pictures of one test image, height×width each; lambda has `maps` planes: none (of a network that makes no
/// map), one or two.
struct ExamplePictures {
    const float *clean, *noisy, *scalar, *map, *lambda;
    int height = 0, width = 0, maps = 1;
};

/// The files of an example but for its figures: images/NAME_{clean,noisy,scalar,map}.png and what the figures are drawn
/// from: NAME_error.npy (|scalar − clean| and |map − clean|; before them, unless there are two maps, |noisy −
/// clean|). Of maps also NAME_lambda.png, of two the second as NAME_lambda_horizontal.png, NAME_lambda.npy (one plane
/// a map) and NAME_histogram.csv (of log₁₀ Λ).
std::vector<std::string> example_paths(const std::string& folder, const std::string& name, int maps);

/// Writes them, all or none. Returns the figures of them, to be drawn in `folder`:
///     images/NAME_panel  clean, noisy, best scalar, map, with PSNR and SSIM; the part of the clean image with the
///                        greatest contrast, magnified; Λ on a logarithmic scale, and the errors on one scale
///     images/NAME_maps   each map by its values, by its logarithm, and the histogram of that
std::vector<Figure> write_example(const std::string& folder, const EvaluatedImage& image,
                                  const ExamplePictures& pictures);

/// Throws Error where one of an example's pictures would be too large.
void check_example_size(const std::string& folder, int height, int width);

}  // namespace tvmap
