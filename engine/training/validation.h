// The validation of a training run: every image, with the same noise each time, is denoised and measured. In a training
// without clean images SURE (kernels/training/loss.h), with the same probe each time, estimates the mean squared error on
// images of noise σ√(1 + ε²); where there are clean images after all, it is measured, too, on those of noise σ. The
// work on one image is recorded once and replayed, and what is found stays in the backend's memory until all images
// are done.
#pragma once
#include <memory>
#include <vector>

#include "engine/config/config.h"
#include "engine/data/dataset.h"
#include "engine/data/observation.h"
#include "engine/data/quality.h"
#include "engine/model/denoiser.h"
#include "kernels/device_array.h"

namespace tvmap {

/// For one thread at a time.
class Validation {
  public:
    struct Result {
        std::vector<Quality> noisy, denoised;  ///< by image; none where noise.source is not simulated
        std::vector<double> sure;              ///< by image; none where train.supervision is clean
        bool finite = true;                    ///< all maps and denoised images
    };

    /// Bytes that it takes besides the denoiser, in the backend's memory: with `resident` images, all of them.
    static std::size_t bytes(const Config& config, int images, bool resident);

    /// `denoiser` is for images of the set's size, which the network can halve often enough, and bound by the time of
    /// run(). Where the images are not `resident` in the backend's memory, they are uploaded one by one. `recorded`:
    /// whether the denoiser's work can be. All must outlive this.
    Validation(Backend& backend, const Config& config, const Dataset& images, Denoiser& denoiser,
               bool recorded, bool resident);

    Result run();

  private:
    /// What the backend finds of one image.
    struct Found {
        Quality noisy, denoised;
        double image_sure = 0, sure = 0;  ///< the same: a batch of one
        std::uint32_t not_finite = 0;     ///< 1: its map or its denoised image is not
    };

    static std::size_t planes(const Config& config);
    void make_pair(int image);
    void work();
    void measure(int image);

    Backend& backend_;
    const Config& config_;
    const Dataset& images_;
    Denoiser& denoiser_;
    bool recorded_;
    std::int64_t pixels_;
    const Observer observer_;
    const bool measures_, estimates_;
    std::vector<float>
        host_pair_;  // an image as observed, the clean one, and the weights or v and the probed images
    DeviceMirror<float> pair_;
    DeviceArray<float> pairs_;    // of all images, if they are resident
    DeviceArray<float> results_;  // of the probed images
    DeviceArray<Found> found_, all_found_;
    std::unique_ptr<Recording> recording_;
};

}  // namespace tvmap
