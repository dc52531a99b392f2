// How much of a map is the doing of the noise: the maps of one image under other draws of it.
#pragma once
#include <cstddef>
#include <limits>
#include <vector>

namespace tvmap {

/// Of an image; NaN where nothing was drawn.
struct MapStability {
    /// The standard deviation of Λ over the draws (N−1) over its mean, of the median pixel of those where it is
    /// not 0 in each draw. 0: the map is the image's alone.
    double spread = std::numeric_limits<double>::quiet_NaN();
    double psnr_spread =
        std::numeric_limits<double>::quiet_NaN();  ///< the standard deviation of the result's PSNR, dB
};

/// Gathers the maps of one image, draw by draw.
class MapDraws {
  public:
    /// values: of a map.
    explicit MapDraws(std::size_t values) : mean_(values), squares_(values) {}
    /// The map of the next draw, and what its result reached.
    void add(const float* lambda, double psnr);
    /// Of the draws so far; NaN of fewer than two.
    MapStability stability() const;

  private:
    std::vector<double> mean_,
        squares_;  // of each value: the mean so far, and the sum of squared distances from it
    std::vector<double> psnr_;
};

}  // namespace tvmap
