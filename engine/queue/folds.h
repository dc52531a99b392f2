// Cross-validation: which images each fold trains on and which it tests, and how its run names them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/data/image_list.h"

namespace tvmap {

/// One fold, as indices of images, each list rising.
struct Fold {
    std::vector<int> train;
    std::vector<int> val;  ///< taken out of the other parts; empty where validation has images of its own
    std::vector<int> test;
};

/// Divides `images` images into `folds` parts: part p is every folds-th image, from the p-th on, of the permutation
/// shuffled(seed, 0, images), which no epoch of a training draws; so sizes differ by one at most. Fold i tests part i and
/// trains on the others, but for their first `validation` images in the permutation's order.
std::vector<Fold> divide(std::uint64_t seed, int images, int folds, int validation);

/// The folds of one configuration.
struct Division {
    std::vector<ListedImage> images;  ///< of data.train
    std::vector<Fold> folds;

    /// What it came about by and the images' names, a line each: two divisions are the same where these are.
    std::string description;
};

/// The division of data.train, as far as data.limit.train, by data.folds. Without data.val, data.limit.val of a fold's
/// images are its validation. Throws Error for too few images, for a picture of data.val that is also one of
/// data.train (choosing weights would know the test), and for names that no list can hold. No picture is read.
Division divide(const Config& config);

/// The configuration of a fold (counted from 0) whose run lies in `folder`: its images are lists in that folder, and its
/// seed is the configured one with the fold's number added to the upper 32 bits. (Noise depends on seed and place in a
/// list: so no two images that are tested share theirs.)
Config fold_config(const Config& config, const Division& division, int fold, const std::string& folder);

/// Writes these lists, train.txt, test.txt and where need be val.txt, into `folder`, which is made. Throws Error.
void write_lists(const Division& division, int fold, const std::string& folder);

}  // namespace tvmap
