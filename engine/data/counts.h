// Images that are counts of photons: the numbers that are counted, and what a pixel's value then weighs.
#pragma once
#include <cstdint>

namespace tvmap {

/// How the values of an image come about that is counted, and read out with noise:
///     z = gain · k + deviation · n,   k Poisson with mean x / gain,   n standard normal,
/// so that E z = x and Var z = gain · x + deviation² (Foi, Trimeche, Katkovnik and Egiazarian, Practical
/// Poissonian-Gaussian noise modeling and fitting for single-image raw-data, IEEE Transactions on Image Processing
/// 17, 2008).
struct CountNoise {
    float gain = 0;       ///< above 0
    float deviation = 0;  ///< 0 or more
};

/// The Poisson number with this mean, 0 or more and finite, that belongs to u, uniform in [0, 1): the values are tried from
/// the likeliest outwards, up and down in turn, until their probabilities add up to more than u. Takes some √mean steps.
std::int64_t poisson_number(double mean, double u);

/// w = c / v, v = gain · max(m, gain) + deviation², the variance of a pixel's noise as far as it can be seen: m is the mean
/// of the 5×5 pixels around it, as far as they lie in the image, and a single count the least that is believed. c makes the
/// mean of c / v 1; above most_weight (engine/config/config.h) w is cut. image, weights: H×W.
void count_weights(const CountNoise& noise, const float* image, int height, int width, float* weights);

}  // namespace tvmap
