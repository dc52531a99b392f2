// The quality of pictures against the clean ones, in the measures of the published tables.
#pragma once
#include <vector>

#include "engine/device_array.h"

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
    backend.image_quality(x.data(), clean.data(), count, images_per_truth, height, width, result.data());
    result.download();
    return quality;
}

}  // namespace tvmap
