// The figures of one test image, drawn from the files that example_files.h names.
#pragma once
#include <cstddef>

#include "engine/evaluation/evaluator.h"
#include "engine/figures/colours.h"
#include "engine/figures/gnuplot.h"

namespace tvmap {

/// A part of an image, in pixels.
struct Part {
    int top = 0, left = 0, height = 0, width = 0;
};

/// What is known of an example's files before it is drawn.
struct ExampleScales {
    int height = 0, width = 0, maps = 0;  ///< of the image; maps that are drawn: 0, 1 or 2
    Span error, lambda;                   ///< of the colours
    Span all_lambda;                      ///< from the least to the greatest
    Part detail;                          ///< what is magnified
    std::size_t header = 0,
                error_header = 0;  ///< bytes before the numbers in NAME_lambda.npy and NAME_error.npy
};

Figure panel_figure(const EvaluatedImage& image, const ExampleScales& scales);
/// Of one map or two.
Figure maps_figure(const EvaluatedImage& image, const ExampleScales& scales);

}  // namespace tvmap
