#include "engine/training/validation.h"

#include "engine/data/noise.h"

namespace tvmap {

std::size_t Validation::bytes(const Config& config, int images, bool resident) {
    const std::size_t planes = Observer(config.solver.observation).weighs() ? 3 : 2;
    const std::size_t pair = planes * sizeof(float) * std::size_t(config.data.size) * config.data.size;
    return (resident ? images + 1 : 1) * pair + (std::size_t(images) + 1) * sizeof(Found);
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
      host_pair_((observer_.weighs() ? 3 : 2) * pixels_),
      pair_(backend, host_pair_.data(), host_pair_.size()),
      pairs_(backend, resident ? std::size_t(images.count()) * host_pair_.size() : 0),
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
    make_noisy({config_.noise, config_.noise.sigma, config_.seed, validation_epoch}, images_, image, pixels_,
               clean, noisy);
    observer_.observe(config_.seed, validation_epoch, std::uint32_t(image), images_.size(), images_.size(),
                      clean, noisy, observer_.weighs() ? noisy + 2 * pixels_ : nullptr);
}

/// On the image in pair_.
void Validation::work() {
    const int side = images_.size();
    const float *const noisy = pair_.data(), *const clean = noisy + pixels_;
    Found* const found = found_.data();
    backend_.clear(found, sizeof *found);
    backend_.copy(denoiser_.input(), noisy, pixels_);
    if (observer_.weighs()) backend_.copy(denoiser_.weights(), noisy + 2 * pixels_, pixels_);
    denoiser_.forward();
    if (denoiser_.maps() > 0)
        backend_.find_not_finite(denoiser_.map(), denoiser_.maps() * pixels_, &found->not_finite);
    backend_.find_not_finite(denoiser_.output(), pixels_, &found->not_finite);
    const auto measure = [&](const float* image, ImageQuality* quality) {
        backend_.image_quality({.images = image, .truths = clean, .height = side, .width = side}, quality);
    };
    measure(noisy, &found->noisy);
    measure(denoiser_.output(), &found->denoised);
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
        result.noisy.push_back(found.noisy);
        result.denoised.push_back(found.denoised);
        result.finite = result.finite && found.not_finite == 0;
    }
    return result;
}

}  // namespace tvmap
