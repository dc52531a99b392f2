// The quality of pictures against the clean ones, in the measures of the published tables, and means of it.
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "kernels/device_array.h"

namespace tvmap {

using Quality = ImageQuality;

/// Measures `count` images of H×W on the host; image i belongs to truth i / images_per_truth.
inline std::vector<Quality> measure(Backend& backend, const float* images, const float* truths, int count,
                                    int images_per_truth, int height, int width) {
    const std::size_t pixels = std::size_t(height) * width;
    const int truth_count = (count + images_per_truth - 1) / images_per_truth;
    const DeviceInput<float> x(backend, images, count * pixels), clean(backend, truths, truth_count * pixels);
    std::vector<Quality> quality(count);
    const DeviceMirror<Quality> result(backend, quality.data(), quality.size());
    backend.image_quality({x.data(), clean.data(), count, images_per_truth, height, width}, result.data());
    result.download();
    return quality;
}

struct Statistic {
    double mean = 0, deviation = 0;
};

/// Mean and standard deviation (N−1; 0 of a single value) of those values that are finite numbers; both NaN
/// where there is none.
Statistic statistic(const std::vector<double>& values);

/// Whether an image with these results belongs into means: each PSNR is a finite number. It is infinite where
/// a result equals the clean image: one such image would make every mean infinite, and its gain NaN.
bool belongs_in_means(std::initializer_list<Quality> results);

/// The mean of each measure, as statistic() has it.
Quality mean_quality(const std::vector<Quality>& qualities);

/// One line on images that were left out of means (the first of them by name), "" if there are none.
std::string left_out_of_means(const std::vector<std::string>& names);

}  // namespace tvmap
