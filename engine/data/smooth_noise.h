// Band-limited random fields for phantoms: white noise on a lattice under a cubic B-spline.
#pragma once
#include <cstdint>
#include <vector>

namespace tvmap {

/// A smooth random function of the plane with mean 0 and standard deviation about 1, whose detail is about
/// `wavelength` wide. A pure function of (seed, item, layer) and the position: threads may share it.
class SmoothNoise {
  public:
    /// Covers positions in [0, extent]².
    SmoothNoise(std::uint64_t seed, std::uint32_t item, std::uint32_t layer, double extent,
                double wavelength);

    double operator()(double x, double y) const;

  private:
    double cell_;
    int side_;
    std::vector<float> lattice_;
};

}  // namespace tvmap
