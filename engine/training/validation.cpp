#include "engine/training/validation.h"

#include <algorithm>

#include "engine/data/noise.h"
#include "engine/data/supervision.h"
#include "kernels/training/loss.h"

namespace tvmap {

std::size_t Validation::planes(const Config& config) {
    const bool estimates = config.train.supervision != Supervision::clean;
    return estimates ? 5 : Observer(config.solver.observation).weighs() ? 3 : 2;
}

std::size_t Validation::bytes(const Config& config, int images, bool resident) {
    const std::size_t plane = sizeof(float) * std::size_t(config.data.size) * config.data.size;
    const std::size_t results = config.train.supervision != Supervision::clean ? 2 : 0;
    return ((resident ? images + 1 : 1) * planes(config) + results) * plane +
           (std::size_t(images) + 1) * sizeof(Found);
}

Validation::Validation(Backend& backend, const Config& config, const Dataset& images, Denoiser& denoiser,
                       bool recorded, bool resident)
    : backend_(backend),
      config_(config),
      images_(images),
      denoiser_(denoiser),
      recorded_(recorded),
      pixels_(std::int64_t(images.size()) * images.size()),
      observer_(config.solver.observation),
      measures_(config.noise.source == NoiseSource::simulated),
      estimates_(config.train.supervision != Supervision::clean),
      host_pair_(planes(config) * std::size_t(pixels_)),
      pair_(backend, host_pair_.data(), host_pair_.size()),
      pairs_(backend, resident ? std::size_t(images.count()) * host_pair_.size() : 0),
      results_(backend, estimates_ ? 2 * std::size_t(pixels_) : 0),
      found_(backend, 1),
      all_found_(backend, images.count()) {
    if (!resident) return;
    for (int i = 0; i < images.count(); ++i) {
        make_pair(i);
        pairs_.upload(host_pair_.data(), host_pair_.size(), i * host_pair_.size());
    }
}

// The same noise every time: the validation images are numbered like the training images, but in an epoch of their own.
void Validation::make_pair(int image) {
    float *const noisy = host_pair_.data(), *const clean = noisy + pixels_;
    images_.copy(image, clean);
    if (!measures_)
        std::copy(clean, clean + pixels_, noisy);
    else
        observer_.observe({config_.noise, config_.noise.sigma, config_.seed, validation_epoch}, images_,
                          image, images_.size(), images_.size(), clean, noisy,
                          observer_.weighs() ? noisy + 2 * pixels_ : nullptr);
    if (!estimates_) return;
    const float sigma = noise_deviation(config_, images_, image, validation_epoch);
    probe({config_.seed, validation_epoch, std::uint32_t(image), sigma}, config_.train.sure_epsilon, pixels_,
          noisy, noisy + 3 * pixels_, noisy + 4 * pixels_, noisy + 2 * pixels_);
}

/// On the image in pair_.
void Validation::work() {
    const int side = images_.size();
    const float *const noisy = pair_.data(), *const clean = noisy + pixels_;
    Found* const found = found_.data();
    backend_.clear(found, sizeof *found);
    const auto denoise = [&](const float* image) {
        backend_.copy(denoiser_.input(), image, pixels_);
        denoiser_.forward();
        if (denoiser_.maps() > 0)
            backend_.find_not_finite(denoiser_.map(), denoiser_.maps() * pixels_, &found->not_finite);
        backend_.find_not_finite(denoiser_.output(), pixels_, &found->not_finite);
    };
    if (observer_.weighs()) backend_.copy(denoiser_.weights(), noisy + 2 * pixels_, pixels_);
    const auto measure = [&](const float* image, ImageQuality* quality) {
        backend_.image_quality({.images = image, .truths = clean, .height = side, .width = side}, quality);
    };
    if (measures_ || !estimates_) denoise(noisy);
    if (measures_) {
        measure(noisy, &found->noisy);
        measure(denoiser_.output(), &found->denoised);
    }
    if (!estimates_) return;
    for (int k = 0; k < 2; ++k) {
        denoise(noisy + (3 + k) * pixels_);
        backend_.copy(results_.data() + k * pixels_, denoiser_.output(), pixels_);
    }
    const Features results = dense_features(2, 1, side, side, 1);
    Features observed = results;  // z and v, with the clean image in between
    observed.image_stride = 2 * pixels_;
    sure_forward(backend_, config_.train.sure_epsilon, {results_.data(), results}, {noisy, observed},
                 &found->image_sure, &found->sure);
}

void Validation::measure(int image) {
    if (pairs_.size()) {
        backend_.copy(pair_.data(), pairs_.data() + image * host_pair_.size(),
                      std::int64_t(host_pair_.size()));
    } else {
        make_pair(image);
        pair_.upload();
    }
    if (recording_) {
        recording_->replay();
    } else {
        // Once without being recorded: what libraries load at their first call cannot be loaded in a recording.
        work();
        if (recorded_) {
            backend_.synchronise();
            recording_ = backend_.record([this] { work(); });
        }
    }
    static_assert(sizeof(Found) % sizeof(float) == 0);
    backend_.copy(reinterpret_cast<float*>(all_found_.data() + image),
                  reinterpret_cast<const float*>(found_.data()), sizeof(Found) / sizeof(float));
}

Validation::Result Validation::run() {
    for (int i = 0; i < images_.count(); ++i) measure(i);
    std::vector<Found> all(images_.count());
    all_found_.download(all.data(), all.size());
    Result result;
    for (const Found& found : all) {
        if (measures_) {
            result.noisy.push_back(found.noisy);
            result.denoised.push_back(found.denoised);
        }
        if (estimates_) result.sure.push_back(found.sure);
        result.finite = result.finite && found.not_finite == 0;
    }
    return result;
}

}  // namespace tvmap
