// The tables of a queue: a line for each training, and one for each cross-validation.
#pragma once
#include <limits>
#include <string>
#include <vector>

#include "engine/evaluation/evaluator.h"
#include "engine/queue/table.h"

namespace tvmap {

/// A training; figures are NaN where they are not known (yet).
struct PieceLine {
    std::vector<std::string> values;  ///< of the swept keys
    std::string run;
    int fold = 0;  ///< 0: none
    double best_psnr = std::numeric_limits<double>::quiet_NaN(), best_epoch = best_psnr, steps = best_psnr;
    std::vector<EvaluatedImage> images;  ///< that it was tested on
};

/// A cross-validation: all images, in the order of data.train; none as long as a fold is missing.
struct FoldsLine {
    std::vector<std::string> values;
    std::vector<EvaluatedImage> images;
};

Table piece_table(const std::vector<std::string>& keys, const std::vector<PieceLine>& lines);

/// Mean ± standard deviation over the images, the gain over the best scalar with its interval and p and, where there are
/// several lines, the PSNR of each above the first's, image by image. (Only where images and noise are the same.)
Table folds_table(const std::vector<std::string>& keys, const std::vector<FoldsLine>& lines);

/// What the numbers of folds_table are, in two or three sentences.
std::string about_folds(bool several);

/// map PSNR of `other` above `first`, image by image, of those that count in both; nothing where these are not the same
/// images with the same noise.
std::vector<double> paired_differences(const std::vector<EvaluatedImage>& first,
                                       const std::vector<EvaluatedImage>& other);

}  // namespace tvmap
