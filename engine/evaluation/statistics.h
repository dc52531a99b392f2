// How sure a mean over test images is. The random draws come from counters, so the same values give the same answer.
#pragma once
#include <vector>

namespace tvmap {

/// Where a mean lies. Both NaN where there are fewer than five values.
struct Interval {
    double low = 0, high = 0;
};

/// The bootstrap-t interval of the mean of the finite values (Efron & Tibshirani, An Introduction to the Bootstrap, 1993,
/// section 12.5): of each of `draws` resamples t = (its mean − the mean)/(its standard error), whose quantiles stand in
/// for Student's. Of differences it is the paired interval. Values that are all the same give that value twice.
Interval mean_interval(const std::vector<double>& values, double confidence = 0.95, int draws = 10000);

/// How likely a mean at least as far from zero is if each value had its sign by chance: the two-sided sign-flip
/// permutation test (Fisher, The Design of Experiments, 1935, section 21), over all flips of up to 16 finite values, else
/// over `draws` of them and the one that was seen. NaN without values.
double sign_flip_p(const std::vector<double>& differences, int draws = 9999);

}  // namespace tvmap
