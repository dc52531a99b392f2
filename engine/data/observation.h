// How images are observed in an experiment with solver.operator: A of a clean image, plus its noise. Everything that is
// drawn is a pure function of (seed, epoch, image).
#pragma once
#include <cstdint>
#include <vector>

#include "engine/config/config.h"
#include "engine/data/noise.h"

namespace tvmap {

/// Height·factor × width·factor × channels, in which each pixel of H×W×C stands in all pixels of its block: what a small
/// image is restored from.
std::vector<float> in_blocks(const float* image, int height, int width, int channels, int factor);

/// For one observation setting. Does not change: threads may share it.
class Observer {
  public:
    explicit Observer(const ObservationConfig& observation);

    /// The gain of an image's counts, where these are what is observed: as given, or drawn uniformly from the range.
    double gain(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image_number) const;

    /// Whether observe() also writes the weights of pixels.
    bool weighs() const { return observation_.data() == DataTerm::weights; }

    /// Makes of an H×W image with added noise of this standard deviation (`image`) what is observed of the `clean` one, of
    /// the same size and in the same noise:
    ///     identity    as it is
    ///     mask        0 where nothing is known: each pixel by itself, with probability `missing`
    ///     blur        A clean + noise, circular
    ///     downsample  each block's mean, plus the noise of its first pixel, in every pixel of the block
    ///     impulses    0 or 1, either as likely, where a pixel was hit: each by itself, with probability `impulses`
    ///     poisson     a count for the clean value, plus the noise, of a gain that is drawn once for the image: see
    ///                 CountNoise in engine/data/counts.h
    /// weights: H×W, where weighs(); else not used: of a mask 1 where a pixel is known and 0 elsewhere, of counts those of
    /// count_weights().
    void observe(std::uint64_t seed, std::uint32_t epoch, std::uint32_t image_number, int height, int width,
                 float deviation, const float* clean, float* image, float* weights) const;

    /// The whole of it for an image of a set, H×W as it stands in `clean`: adds the noise, as make_noisy() does, and
    /// observes it so. Returns σ.
    float observe(const EpochNoise& noise, const Dataset& data, int image_number, int height, int width,
                  const float* clean, float* image, float* weights) const;

  private:
    ObservationConfig observation_;
    std::vector<float> kernel_;
};

}  // namespace tvmap
