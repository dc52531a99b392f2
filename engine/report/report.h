// Reports: what was done and what came out, of one run or of several side by side, for readers who have not seen the code.
#pragma once
#include <string>
#include <vector>

#include "engine/report/run_record.h"

namespace tvmap {

/// A self-contained HTML page: figures are inside, nothing is loaded, and nothing but sorting and filtering the tables of
/// images needs its script. `pictures`: of how many images of each run there are pictures, at most.
std::string html_report(const std::vector<RunRecord>& runs, int pictures);

/// The same in short as Markdown, for the file `path`: figures are links to the evaluations' files.
std::string markdown_report(const std::vector<RunRecord>& runs, const std::string& path);

/// A figure of an evaluation, and what it shows.
struct ReportedFigure {
    const char *name, *caption;
};
inline constexpr ReportedFigure reported_figures[] = {
    {"curves",
     "Mean PSNR and SSIM over one λ for all images, the best one marked. Dotted: the mean where each image "
     "has its own best "
     "λ, chosen by looking at the clean image. Blue: the learned map."},
    {"boxes",
     "PSNR and SSIM of the test images by method. Box: quartiles and median; diamond: mean; whiskers: the "
     "farthest images "
     "within 1.5 times the box's height of its edges; circles: images beyond."},
    {"differences",
     "How much better the map is on each image than that image's best scalar λ; hatched "
     "where it is worse, if anywhere. Dashed: the mean."},
    {"gain", "The map's gain over the best scalar λ of each image, by the strength σ of its noise."},
    {"training",
     "The training: loss of each epoch, and mean PSNR of the validation images. (The logarithm of a mean "
     "squared error is below 0.)"}};

}  // namespace tvmap
