// The figures of one test image, drawn from the files that example_files.h names.
#pragma once
#include <cstddef>

#include "engine/evaluation/evaluator.h"
#include "engine/figures/colours.h"
#include "engine/figures/gnuplot.h"

namespace tvmap {

/// A part of an image, in pixels.
struct Square {
    int top = 0, left = 0, size = 0;
};

/// What is known of an example's numbers before it is drawn.
struct ExampleScales {
    Span error, lambda;  ///< of the colours
    Span all_lambda;     ///< from the least to the greatest
    Square detail;       ///< what is magnified
    std::size_t header = 0,
                error_header = 0;  ///< bytes before the numbers in NAME_lambda.npy and NAME_error.npy
};

Figure panel_figure(const EvaluatedImage& image, int side, int maps, const ExampleScales& scales);
Figure map_figure(const EvaluatedImage& image, int side, int maps, const ExampleScales& scales);

}  // namespace tvmap
